//! Codes of 1, 2 or 4 bits that meet activations of `Q8_0`: how the formats that have them lay them
//! out.
//!
//! The 32 activations that share a scale are met in eight steps of four. Sixteen bytes of codes are
//! a *run*, four words; a step takes a code of each of the four bytes of a word. So activations are
//! brought into the order of the steps once, and codes are used as they lie.

use crate::microkernel::dot::BlockDot;
use crate::microkernel::runs::{RUN_BYTES, Runs};

/// Activations that share a scale.
pub(crate) const PIECE: usize = bitnet_kernels::format::Q8_0_BLOCK;

/// Steps of four activations in a piece.
pub(crate) const STEPS: usize = PIECE / 4;

/// Words of four bytes in a run.
pub(crate) const RUN_WORDS: usize = RUN_BYTES / 4;

/// The activations of a piece, in the order of the steps.
pub(crate) type Steps = [[i8; 4]; STEPS];

/// Codes in a byte.
pub(crate) const fn per_byte(bits: usize) -> usize {
    8 / bits
}

/// Pieces of a run; a piece takes as many words as a code has bits.
pub(crate) const fn pieces_per_run(bits: usize) -> usize {
    RUN_WORDS / bits
}

/// What codes of `bits` stand for: a weight is `STEP * code - OFFSET`.
pub(crate) const fn meaning(bits: usize) -> (i32, i32) {
    match bits {
        1 => (2, 1),
        2 => (1, 1),
        _ => (1, 8),
    }
}

/// For each activation of the [`Steps`] of a piece, its place in the piece.
pub(crate) type Order = [u8; PIECE];

/// The order where the codes of a byte belong to adjacent activations.
pub(crate) const fn adjacent(bits: usize) -> Order {
    order(bits, per_byte(bits), 1)
}

/// The order where the next code of a byte belongs to an activation as far on as there are bytes of
/// codes in a piece.
pub(crate) const fn apart(bits: usize) -> Order {
    order(bits, 1, PIECE / per_byte(bits))
}

const fn order(bits: usize, from_byte_to_byte: usize, from_code_to_code: usize) -> Order {
    let mut order = [0; PIECE];
    let mut i = 0;
    while i < PIECE {
        let (step, byte) = (i / 4, i % 4);
        let (word, code) = (step / per_byte(bits), step % per_byte(bits));
        let at = (4 * word + byte) * from_byte_to_byte + code * from_code_to_code;
        order[i] = at as u8;
        i += 1;
    }
    order
}

/// How a format of codes of `BITS` bits lays out a row.
pub(crate) trait CodeLayout<const BITS: usize> {
    /// The bytes of a block.
    type Block: Copy;
    /// Runs of a block.
    const RUNS: usize;
    /// How activations are ordered.
    const ORDER: Order;

    /// The blocks of a row.
    fn blocks(row: &[u8]) -> &[Self::Block];

    /// The runs of a block. `unpacked` is for layouts that are not stored that way.
    fn runs<'a, B: BlockDot>(
        b: B,
        block: &'a Self::Block,
        unpacked: &'a mut Runs,
    ) -> &'a [[u8; RUN_BYTES]];

    /// The binary16 scale of a block.
    fn scale(block: &Self::Block) -> u16;
}
