//! Four registers of four lanes.

use std::arch::aarch64::*;
use std::arch::asm;

use bitnet_kernels::order::LANES;

use super::byte_dot::{Aarch64, ByteDot};
use crate::microkernel::simd::Simd;

/// Applies an intrinsic to all four registers.
macro_rules! each {
    ($intrinsic:ident, $($arg:expr),+) => {
        // SAFETY: every `ByteDot` proves NEON; the intrinsic touches registers only.
        std::array::from_fn(|i| unsafe { $intrinsic($($arg[i]),+) })
    };
}

/// Widens four binary16 values. The intrinsic has a type that is younger than the Rust we support.
#[inline]
#[target_feature(enable = "neon")]
fn widen(x: uint16x4_t) -> float32x4_t {
    let out: float32x4_t;
    // SAFETY: `fcvtl` is part of NEON and touches registers only.
    unsafe {
        asm!("fcvtl {out:v}.4s, {x:v}.4h", x = in(vreg) x, out = lateout(vreg) out,
            options(pure, nomem, nostack, preserves_flags));
    }
    out
}

/// Narrows to binary16, ties to even.
#[inline]
#[target_feature(enable = "neon")]
fn narrow(x: float32x4_t) -> uint16x4_t {
    let out: uint16x4_t;
    // SAFETY: `fcvtn` is part of NEON and touches registers only.
    unsafe {
        asm!("fcvtn {out:v}.4h, {x:v}.4s", x = in(vreg) x, out = lateout(vreg) out,
            options(pure, nomem, nostack, preserves_flags));
    }
    out
}

// `fmin` and `fmax` treat NaN and the two zeros in another way than `Simd` asks for.
#[inline]
#[target_feature(enable = "neon")]
fn minimum(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcltq_f32(a, b), a, b)
}

#[inline]
#[target_feature(enable = "neon")]
fn maximum(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    vbslq_f32(vcgtq_f32(a, b), a, b)
}

/// The larger by its bits.
#[inline]
#[target_feature(enable = "neon")]
fn maximum_bits(a: float32x4_t, b: float32x4_t) -> float32x4_t {
    let (a, b) = (vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b));
    vreinterpretq_f32_u32(vmaxq_u32(a, b))
}

#[inline]
#[target_feature(enable = "neon")]
fn power_of_two(n: float32x4_t) -> float32x4_t {
    let biased = vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127));
    vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
}

impl<D: ByteDot> Simd for Aarch64<D> {
    type F = [float32x4_t; 4];
    type D = [float64x2_t; 8];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: `self` proves NEON.
        unsafe { [vdupq_n_f32(x); 4] }
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        let at = x.as_ptr();
        // SAFETY: `self` proves NEON; the four loads lie within the 16 floats.
        std::array::from_fn(|i| unsafe { vld1q_f32(at.add(4 * i)) })
    }
    #[inline(always)]
    fn store(self, x: Self::F, out: &mut [f32; LANES]) {
        let at = out.as_mut_ptr();
        for (i, x) in x.into_iter().enumerate() {
            // SAFETY: `self` proves NEON; the four stores lie within the 16 floats.
            unsafe { vst1q_f32(at.add(4 * i), x) };
        }
    }
    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        let at = x.as_ptr();
        // SAFETY: `self` proves NEON; the four loads lie within the 32 bytes.
        std::array::from_fn(|i| unsafe { widen(vld1_u16(at.add(4 * i))) })
    }
    #[inline(always)]
    fn store_f16(self, x: Self::F, out: &mut [u16; LANES]) {
        let at = out.as_mut_ptr();
        for (i, x) in x.into_iter().enumerate() {
            // SAFETY: `self` proves NEON; the four stores lie within the 32 bytes.
            unsafe { vst1_u16(at.add(4 * i), narrow(x)) };
        }
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F {
        let at = x.as_ptr();
        std::array::from_fn(|i| {
            // SAFETY: `self` proves NEON; the four loads lie within the 32 bytes.
            unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(at.add(4 * i)))) }
        })
    }
    #[inline(always)]
    fn store_i8(self, x: Self::F, out: &mut [i8; LANES]) {
        // SAFETY: `self` proves NEON; the store covers the 16 bytes.
        unsafe {
            let [a, b, c, d] = x.map(|x| vqmovn_s32(vcvtnq_s32_f32(x)));
            let low = vqmovn_s16(vcombine_s16(a, b));
            let high = vqmovn_s16(vcombine_s16(c, d));
            vst1q_s8(out.as_mut_ptr(), vcombine_s8(low, high));
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        each!(vaddq_f32, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        each!(vsubq_f32, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        each!(vmulq_f32, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        each!(vdivq_f32, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        each!(vfmaq_f32, c, a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        each!(minimum, a, b)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        each!(maximum, a, b)
    }
    #[inline(always)]
    fn max_magnitude(self, a: Self::F, b: Self::F) -> Self::F {
        each!(maximum_bits, a, b)
    }
    #[inline(always)]
    fn abs(self, x: Self::F) -> Self::F {
        each!(vabsq_f32, x)
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        each!(vrndnq_f32, x)
    }
    #[inline(always)]
    fn exp2_integral(self, n: Self::F) -> Self::F {
        each!(power_of_two, n)
    }
    #[inline(always)]
    fn zero_f64(self) -> Self::D {
        // SAFETY: `self` proves NEON.
        unsafe { [vdupq_n_f64(0.0); 8] }
    }
    #[inline(always)]
    fn add_f64(self, acc: Self::D, x: Self::F) -> Self::D {
        // SAFETY: `self` proves NEON.
        std::array::from_fn(|i| unsafe {
            let two = if i % 2 == 0 {
                vcvt_f64_f32(vget_low_f32(x[i / 2]))
            } else {
                vcvt_high_f64_f32(x[i / 2])
            };
            vaddq_f64(acc[i], two)
        })
    }
    #[inline(always)]
    fn store_f64(self, acc: Self::D) -> [f64; LANES] {
        let mut out = [0.0; LANES];
        for (acc, out) in acc.into_iter().zip(out.as_chunks_mut::<2>().0) {
            // SAFETY: `self` proves NEON; the store covers the two doubles.
            unsafe { vst1q_f64(out.as_mut_ptr(), acc) };
        }
        out
    }
}
