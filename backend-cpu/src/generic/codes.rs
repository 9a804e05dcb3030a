//! How formats of codes that meet activations of `Q8_0` lay out their rows.

use bitnet_kernels::format::{ptq1_0, q1_0, q2_0, q4_0};

use crate::microkernel::coded::{CodeLayout, Order, adjacent, apart};
use crate::microkernel::dot::BlockDot;
use crate::microkernel::runs::{RUN_BYTES, Runs};

/// A scale, then `RUNS` runs of codes, in `BYTES`.
#[inline(always)]
fn runs<const BYTES: usize>(block: &[u8; BYTES]) -> &[[u8; RUN_BYTES]] {
    block[BYTES % RUN_BYTES..].as_chunks().0
}

/// The two bytes at `at`.
#[inline(always)]
fn half(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// Layouts of a scale and the runs behind it.
macro_rules! scale_first {
    ($($(#[$doc:meta])* $name:ident: [$bytes:expr], $bits:literal, $runs:literal, $order:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub(crate) struct $name;

        impl CodeLayout<$bits> for $name {
            type Block = [u8; $bytes];
            const RUNS: usize = $runs;
            const ORDER: Order = $order;

            #[inline(always)]
            fn blocks(row: &[u8]) -> &[Self::Block] {
                row.as_chunks().0
            }

            #[inline(always)]
            fn runs<'a, B: BlockDot>(
                _b: B,
                block: &'a Self::Block,
                _unpacked: &'a mut Runs,
            ) -> &'a [[u8; RUN_BYTES]] {
                runs(block)
            }

            #[inline(always)]
            fn scale(block: &Self::Block) -> u16 {
                half(block, 0)
            }
        }
    )+};
}

scale_first! {
    /// `Q1_0`.
    Q1_0: [q1_0::BLOCK_BYTES], 1, 1, adjacent(1);
    /// `Q2_0`.
    Q2_0: [q2_0::block_bytes(64)], 2, 1, adjacent(2);
    /// `PQ2_0`.
    PQ2_0: [q2_0::block_bytes(128)], 2, 2, adjacent(2);
    /// `Q4_0`.
    Q4_0: [q4_0::BLOCK_BYTES], 4, 1, apart(4);
}

/// `PTQ1_0`: five trits to a byte, unpacked to two bits.
#[derive(Clone, Copy)]
pub(crate) struct PTQ1_0;

impl CodeLayout<2> for PTQ1_0 {
    type Block = [u8; ptq1_0::BLOCK_BYTES];
    const RUNS: usize = 2;
    const ORDER: Order = apart(2);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn runs<'a, B: BlockDot>(
        b: B,
        block: &'a Self::Block,
        unpacked: &'a mut Runs,
    ) -> &'a [[u8; RUN_BYTES]] {
        b.unpack_ptq1_0(block, unpacked);
        unpacked
    }

    #[inline(always)]
    fn scale(block: &Self::Block) -> u16 {
        half(block, ptq1_0::SCALE_AT)
    }
}
