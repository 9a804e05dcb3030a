//! The microkernel of the ternary gemm, and the packed operands that it meets.
//!
//! A *strip* is sixteen rows. One step multiplies the codes that the rows of a strip have for four
//! adjacent activations with these, so that sixteen sums, one per row, stand side by side in the
//! SIMD lanes: nothing is ever folded across lanes, and the activations are one broadcast of four
//! bytes from memory. Sums are integers, so an instruction set may take them in any order.

use std::ops::Range;

use bitnet_kernels::format::i2_s;
use bitnet_kernels::order::LANES;

use crate::microkernel::coded::{CodeLayout, Order, PIECE, RUN_WORDS};
use crate::microkernel::dot::BlockDot;
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::runs::RUN_BYTES;
use crate::microkernel::trits::BlockCodes;

/// Ternary weights of a row that are packed together: a group of `I2_S`, half a block of `TQ2_0`.
pub(crate) const GROUP: usize = i2_s::GROUP;

/// Bytes of the codes of a group, two bits each.
pub(crate) const GROUP_BYTES: usize = i2_s::GROUP_BYTES;

/// Steps of four activations in a group.
pub(crate) const GROUP_STEPS: usize = GROUP / 4;

/// Words in which the rows of a strip hold a group.
pub(crate) const GROUP_WORDS: usize = GROUP_BYTES / 4;

/// Four bytes of each row of a strip: sixteen codes of two bits per row.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct PackedWord(pub(crate) [[u8; 4]; LANES]);

/// A group of each row of a strip.
pub(crate) type PackedGroup = [PackedWord; GROUP_WORDS];

impl PackedWord {
    pub(crate) const ZERO: PackedWord = PackedWord([[0; 4]; LANES]);
}

/// How a ternary format lays out a row.
pub(crate) trait TernaryLayout {
    /// Whether the highest bits of a byte belong to the first of its four activations.
    const HIGHEST_FIRST: bool;
    /// Groups that share a scale; `None` where the whole tensor does.
    const GROUPS_PER_SCALE: Option<usize>;

    /// The bytes of the `i`th block, or of the `i`th group where there are no blocks: a whole
    /// number of groups, of which each has the codes of activations `j`, `j + 32`, `j + 64` and
    /// `j + 96` in byte `j`. `unpacked` is for layouts that are not stored that way.
    fn bytes<'a, B: BlockDot>(
        b: B,
        row: &'a [u8],
        i: usize,
        unpacked: &'a mut BlockCodes,
    ) -> &'a [u8];

    /// The binary16 scale of a block, where there are blocks.
    fn scale(row: &[u8], block: usize) -> u16;
}

/// What one register tile multiplies: MR rows of a panel with at most NR tokens.
pub(crate) struct TileArgs<'a> {
    /// `[groups, strips]` of [`PackedGroup`]; of a format of codes, `[runs, strips]` of four words.
    pub(crate) words: &'a [PackedWord],
    /// Binary16 scales, `[blocks, strips]`; empty where the tensor has one scale.
    pub(crate) scales: &'a [[u16; LANES]],
    /// The tensor's scale.
    pub(crate) scale: f32,
    pub(crate) x: &'a Encoded<'a>,
    pub(crate) tokens: Range<usize>,
    /// Bytes to prefetch meanwhile: a part of the next panel's rows.
    pub(crate) prefetched: &'a [u8],
    /// From the tile's first row of its first token on.
    pub(crate) out: &'a mut [f32],
    /// Rows that are wanted; what the last strip has beyond them is dropped.
    pub(crate) rows: usize,
    /// Distance between tokens in `out`.
    pub(crate) stride: usize,
}

/// What a gemm multiplies: rows of a matrix with tokens, into `[tokens, rows]`.
pub(crate) struct GemmArgs<'a> {
    pub(crate) m: &'a MatrixRef<'a>,
    pub(crate) rows: Range<usize>,
    pub(crate) x: &'a Encoded<'a>,
    pub(crate) tokens: Range<usize>,
    pub(crate) out: &'a mut [f32],
}

/// The steps of a register tile of MR rows by NR tokens, where MR is `16 * STRIPS`.
pub(crate) trait Microkernel: BlockDot {
    /// A [`PackedWord`] in registers.
    type Bytes: Copy;
    /// Four adjacent activations, broadcast to the rows of a strip.
    type Broadcast: Copy;
    /// Sixteen i32 accumulators, one per row of a strip.
    type Acc: Copy;
    /// The accumulators within one group. They may be narrower than [`Microkernel::Acc`]: a group
    /// has [`GROUP_STEPS`] steps, each of four products of at most `3 * 128` in magnitude; or
    /// eight, of at most `15 * 127`.
    type GroupAcc: Copy;

    /// MR / 16: the strips of a register tile.
    const STRIPS: usize;
    /// NR: the most tokens of a register tile.
    const NR: usize;

    /// Panels of rows in a piece where many tokens meet them: several, where the whole gemm has a
    /// way that pays with many rows alone.
    const PIECE_PANELS: usize = 1;

    /// [`Microkernel::STRIPS`] of a tile of codes that meet activations of `Q8_0`.
    const CODED_STRIPS: usize;
    /// [`Microkernel::NR`] of such a tile.
    const CODED_TOKENS: usize;

    /// Runs `generic::coded::tile` with these two.
    fn coded_tile<F: CodeLayout<BITS>, const BITS: usize>(self, args: TileArgs<'_>);

    /// Brings activations into an order: `to[i] = from[order[i]]`.
    #[inline(always)]
    fn reorder(self, from: &[i8; PIECE], order: &Order, to: &mut [i8; PIECE]) {
        for (to, at) in to.iter_mut().zip(order) {
            *to = from[usize::from(*at)];
        }
    }

    /// Runs `generic::gemm::tile` with [`Microkernel::STRIPS`] and [`Microkernel::NR`], which only
    /// the implementation can name as constants.
    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>);

    /// Does the whole gemm where the instruction set has a way of its own, with scratch memory
    /// whose contents do not matter; gives back what tiles are to do.
    #[inline(always)]
    fn whole_gemm<'a, F: TernaryLayout>(
        self,
        args: GemmArgs<'a>,
        _scratch: &mut Vec<PackedWord>,
    ) -> Option<GemmArgs<'a>> {
        Some(args)
    }

    /// Does the products of whole rows of `I2_S` with a few tokens where the instruction set
    /// multiplies matrices by itself, as [`Microkernel::whole_gemm`] does.
    #[inline(always)]
    fn few_in_tiles<'a>(
        self,
        args: GemmArgs<'a>,
        _scratch: &mut Vec<PackedWord>,
    ) -> Option<GemmArgs<'a>> {
        Some(args)
    }

    /// Words of a strip: word `i` takes bytes `4i .. 4i + 4` of each row.
    fn transpose(self, rows: [&[u8; RUN_BYTES]; LANES]) -> [Self::Bytes; RUN_WORDS];

    /// Loads a word.
    fn load_bytes(self, word: &PackedWord) -> Self::Bytes;

    /// Stores a word.
    fn store_bytes(self, bytes: Self::Bytes, word: &mut PackedWord);

    /// The code in the lowest bits of each byte, 1, 2 or 4 of them.
    fn low_codes<const BITS: usize>(self, bytes: Self::Bytes) -> Self::Bytes;

    /// Brings the next code of each byte down to where [`Microkernel::low_codes`] finds it.
    fn shift_codes<const BITS: usize>(self, bytes: Self::Bytes) -> Self::Bytes;

    /// Loads four activations for all rows of a strip.
    fn broadcast(self, q: &[i8; 4]) -> Self::Broadcast;

    /// Adds the products of a group of `S` strips with `T` tokens to their accumulators.
    #[inline(always)]
    fn add_group<F: TernaryLayout, const S: usize, const T: usize>(
        self,
        words: &[PackedGroup; S],
        q: [&[[i8; 4]; GROUP_STEPS]; T],
        acc: &mut [[Self::Acc; S]; T],
    ) {
        add_group::<Self, F, S, T>(self, words, q, acc);
    }

    /// The same accumulator for all rows.
    fn splat_i32(self, x: i32) -> Self::Acc;

    /// Starts the accumulators of a group whose products are to be added to `acc`.
    fn begin_group(self, acc: Self::Acc) -> Self::GroupAcc;

    /// Adds each row's four products of codes with four activations.
    fn multiply_add(
        self,
        acc: Self::GroupAcc,
        codes: Self::Bytes,
        q: Self::Broadcast,
    ) -> Self::GroupAcc;

    /// `acc` with a group's products added; `acc` is what [`Microkernel::begin_group`] was given.
    fn end_group(self, acc: Self::Acc, group: Self::GroupAcc) -> Self::Acc;

    /// Accumulators as floats, each rounded once.
    fn to_f32(self, acc: Self::Acc) -> Self::F;
}

/// [`Microkernel::add_group`], step by step.
///
/// Loops over a tile are plain `for` loops: a closure that is handed to an iterator or an array
/// method of `std` is compiled without the instruction set's features, and so are the vector
/// operations in it.
#[inline(always)]
pub(crate) fn add_group<M: Microkernel, F: TernaryLayout, const S: usize, const T: usize>(
    m: M,
    words: &[PackedGroup; S],
    q: [&[[i8; 4]; GROUP_STEPS]; T],
    acc: &mut [[M::Acc; S]; T],
) {
    let mut group = [[m.begin_group(acc[0][0]); S]; T];
    for t in 0..T {
        for s in 0..S {
            group[t][s] = m.begin_group(acc[t][s]);
        }
    }
    for word in 0..GROUP_WORDS {
        let mut bytes = [m.load_bytes(&words[0][word]); S];
        for s in 1..S {
            bytes[s] = m.load_bytes(&words[s][word]);
        }
        for shift in 0..4 {
            let mut codes = bytes;
            for s in 0..S {
                codes[s] = m.low_codes::<2>(bytes[s]);
                bytes[s] = m.shift_codes::<2>(bytes[s]);
            }
            let place = if F::HIGHEST_FIRST { 3 - shift } else { shift };
            for t in 0..T {
                let q = m.broadcast(&q[t][place * GROUP_WORDS + word]);
                for s in 0..S {
                    group[t][s] = m.multiply_add(group[t][s], codes[s], q);
                }
            }
        }
    }
    for t in 0..T {
        for s in 0..S {
            acc[t][s] = m.end_group(acc[t][s], group[t][s]);
        }
    }
}
