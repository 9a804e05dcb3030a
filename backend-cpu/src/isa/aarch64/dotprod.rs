//! NEON with `sdot`: four byte products to a 32-bit lane.

use std::arch::aarch64::*;
use std::arch::asm;

use super::byte_dot::{Aarch64, ByteDot};
use crate::generic::{coded, gemm};
use crate::isa::table::{Kernels, kernels};
use crate::microkernel::coded::CodeLayout;
use crate::microkernel::gemm::{TernaryLayout, TileArgs};

/// Proof that the CPU has `sdot`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dotprod(());

impl Dotprod {
    /// The token, if the CPU has what it stands for.
    pub(crate) fn new() -> Option<Dotprod> {
        std::arch::is_aarch64_feature_detected!("dotprod").then_some(Dotprod(()))
    }

    /// The kernels of this instruction set.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            "dotprod",
            Aarch64(Dotprod(())),
            #[target_feature(enable = "neon,dotprod")]
        );
        &KERNELS
    }
}

/// `sums + a . b` in groups of four bytes. The intrinsic is not stable in the Rust we support.
#[inline]
#[target_feature(enable = "dotprod")]
pub(super) fn sdot(mut sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the function's target feature has the instruction, which touches registers only.
    unsafe {
        asm!("sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

impl ByteDot for Dotprod {
    #[inline(always)]
    fn dot(self, sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: `self` proves `sdot`.
        unsafe { sdot(sums, a, b) }
    }
    type GroupAcc = int32x4_t;
    const NR: usize = 5;

    #[inline(always)]
    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>) {
        gemm::tile::<Aarch64<Self>, F, 1, 5>(Aarch64(self), args);
    }

    const CODED_TOKENS: usize = 4;

    #[inline(always)]
    fn coded_tile<F: CodeLayout<BITS>, const BITS: usize>(self, args: TileArgs<'_>) {
        coded::tile::<Aarch64<Self>, F, BITS, 1, 4>(Aarch64(self), args);
    }

    #[inline(always)]
    fn begin_group(self, sums: int32x4_t) -> int32x4_t {
        sums
    }

    #[inline(always)]
    fn add(self, run: int32x4_t, codes: int8x16_t, q: int8x16_t) -> int32x4_t {
        self.dot(run, codes, q)
    }

    #[inline(always)]
    fn end_group(self, _sums: int32x4_t, run: int32x4_t) -> int32x4_t {
        run
    }
}
