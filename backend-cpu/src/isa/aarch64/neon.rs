//! NEON alone: bytes are multiplied into 16 bits, which are widened in time.

use std::arch::aarch64::*;

use super::byte_dot::{Aarch64, ByteDot};
use crate::generic::{coded, gemm};
use crate::isa::table::{Kernels, kernels};
use crate::microkernel::coded::CodeLayout;
use crate::microkernel::gemm::{TernaryLayout, TileArgs};

/// NEON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

impl Neon {
    /// The token, if the CPU has what it stands for.
    pub(crate) fn new() -> Option<Neon> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }

    /// The kernels of this instruction set.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels =
            kernels!("neon", Aarch64(Neon(())), #[target_feature(enable = "neon")]);
        &KERNELS
    }
}

impl ByteDot for Neon {
    #[inline(always)]
    fn dot(self, sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            // Two products may be 2 * 2^14, which 16 bits do not hold: pairs are added in 32 bits.
            let low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
            let high = vpaddlq_s16(vmull_high_s8(a, b));
            vaddq_s32(sums, vpaddq_s32(low, high))
        }
    }

    /// A product is at most 3 * 128 in magnitude, so that sixteen of them stay within 16 bits.
    #[inline(always)]
    fn codes(self, sums: int32x4_t, codes: [int8x16_t; 8], q: [int8x16_t; 8]) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe {
            let mut words = vdupq_n_s16(0);
            for (codes, q) in codes.into_iter().zip(q) {
                words = vmlal_s8(words, vget_low_s8(codes), vget_low_s8(q));
                words = vmlal_high_s8(words, codes, q);
            }
            vpadalq_s16(sums, words)
        }
    }

    /// Sixteen 16-bit sums, four to each sum. A group has 32 quads of products of
    /// at most 384, or eight of at most 15 * 127: either fits 16 bits.
    type GroupAcc = [int16x8_t; 2];
    const NR: usize = 2;

    #[inline(always)]
    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>) {
        gemm::tile::<Aarch64<Self>, F, 1, 2>(Aarch64(self), args);
    }

    const CODED_TOKENS: usize = 2;

    #[inline(always)]
    fn coded_tile<F: CodeLayout<BITS>, const BITS: usize>(self, args: TileArgs<'_>) {
        coded::tile::<Aarch64<Self>, F, BITS, 1, 2>(Aarch64(self), args);
    }

    #[inline(always)]
    fn begin_group(self, _sums: int32x4_t) -> Self::GroupAcc {
        // SAFETY: `self` proves NEON.
        unsafe { [vdupq_n_s16(0); 2] }
    }

    #[inline(always)]
    fn add(self, [low, high]: Self::GroupAcc, codes: int8x16_t, q: int8x16_t) -> Self::GroupAcc {
        // SAFETY: `self` proves NEON.
        unsafe {
            [
                vmlal_s8(low, vget_low_s8(codes), vget_low_s8(q)),
                vmlal_high_s8(high, codes, q),
            ]
        }
    }

    #[inline(always)]
    fn end_group(self, sums: int32x4_t, [low, high]: Self::GroupAcc) -> int32x4_t {
        // SAFETY: `self` proves NEON.
        unsafe { vaddq_s32(sums, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))) }
    }
}
