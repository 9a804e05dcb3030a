//! What the integer instructions of AArch64 differ in.

use std::arch::aarch64::*;

use crate::microkernel::coded::CodeLayout;
use crate::microkernel::gemm::{self, GROUP_STEPS, PackedGroup, TernaryLayout, TileArgs};

/// Sums of byte products. A value of the implementing type is the proof that the CPU has NEON and
/// whatever else its instructions need.
pub(crate) trait ByteDot: Copy {
    /// Adds to each of four sums the products of four adjacent bytes.
    fn dot(self, sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t;

    /// Adds the products of eight registers of codes to `sums`; which of the four sums takes which
    /// product does not matter. Codes are at most 3.
    #[inline(always)]
    fn codes(self, mut sums: int32x4_t, codes: [int8x16_t; 8], q: [int8x16_t; 8]) -> int32x4_t {
        for (codes, q) in codes.into_iter().zip(q) {
            sums = self.dot(sums, codes, q);
        }
        sums
    }

    /// Four sums on their way, over the quads of a group of 128.
    type GroupAcc: Copy;
    /// Tokens of a tile of registers, at most.
    const NR: usize;

    /// Runs `generic::gemm::tile` for sixteen rows and the tokens above.
    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>);

    /// Tokens of a tile of codes that meet activations of `Q8_0`, at most.
    const CODED_TOKENS: usize;

    /// Runs `generic::coded::tile` for sixteen rows and the tokens above.
    fn coded_tile<F: CodeLayout<BITS>, const BITS: usize>(self, args: TileArgs<'_>);

    fn begin_group(self, sums: int32x4_t) -> Self::GroupAcc;
    /// Adds to each of four sums the products of four adjacent codes and activations.
    fn add(self, run: Self::GroupAcc, codes: int8x16_t, q: int8x16_t) -> Self::GroupAcc;
    /// `sums` are those that [`ByteDot::begin`] got.
    fn end_group(self, sums: int32x4_t, run: Self::GroupAcc) -> int32x4_t;

    /// `Microkernel::add_group`.
    #[inline(always)]
    fn add_group<F: TernaryLayout, const S: usize, const T: usize>(
        self,
        words: &[PackedGroup; S],
        q: [&[[i8; 4]; GROUP_STEPS]; T],
        sums: &mut [[[int32x4_t; 4]; S]; T],
    ) {
        gemm::add_group::<Aarch64<Self>, F, S, T>(Aarch64(self), words, q, sums);
    }
}

/// The lanes and products of AArch64 over one way to sum byte products.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aarch64<D>(pub(crate) D);
