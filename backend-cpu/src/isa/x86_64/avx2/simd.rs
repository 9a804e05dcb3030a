//! Sixteen f32 lanes in two registers of eight.

use std::arch::x86_64::*;

use bitnet_kernels::order::LANES;

use super::super::prefetch::prefetch;
use super::token::Avx2;
use crate::microkernel::simd::Simd;

/// Applies an intrinsic to both halves.
macro_rules! both {
    ($intrinsic:ident, $($arg:expr),+) => {
        // SAFETY: `self` proves AVX2, FMA and F16C; the intrinsic touches registers only.
        unsafe { [$intrinsic($($arg[0]),+), $intrinsic($($arg[1]),+)] }
    };
}

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    type F = [__m256; 2];
    type D = [__m256d; 4];

    #[inline(always)]
    fn prefetch<T>(self, from: &[T], at: usize) {
        prefetch(from, at);
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: `self` proves AVX2.
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        let at = x.as_ptr();
        // SAFETY: `self` proves AVX2; both loads lie within the 16 floats.
        unsafe { [_mm256_loadu_ps(at), _mm256_loadu_ps(at.add(8))] }
    }
    #[inline(always)]
    fn store(self, x: Self::F, out: &mut [f32; LANES]) {
        let at = out.as_mut_ptr();
        // SAFETY: `self` proves AVX2; both stores lie within the 16 floats.
        unsafe {
            _mm256_storeu_ps(at, x[0]);
            _mm256_storeu_ps(at.add(8), x[1]);
        }
    }
    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        let at = x.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves F16C; both loads lie within the 32 bytes.
        unsafe {
            [
                _mm256_cvtph_ps(_mm_loadu_si128(at)),
                _mm256_cvtph_ps(_mm_loadu_si128(at.add(1))),
            ]
        }
    }
    #[inline(always)]
    fn store_f16(self, x: Self::F, out: &mut [u16; LANES]) {
        let at = out.as_mut_ptr().cast::<__m128i>();
        // SAFETY: `self` proves F16C; both stores lie within the 32 bytes.
        unsafe {
            _mm_storeu_si128(at, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[0]));
            _mm_storeu_si128(
                at.add(1),
                _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(x[1]),
            );
        }
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F {
        let at = x.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves AVX2; both loads lie within the 32 bytes.
        unsafe {
            let [low, high] = [_mm_loadu_si128(at), _mm_loadu_si128(at.add(1))];
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(low))),
                _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(high))),
            ]
        }
    }
    #[inline(always)]
    fn store_i8(self, x: Self::F, out: &mut [i8; LANES]) {
        // SAFETY: `self` proves AVX2; the store covers the 16 bytes.
        unsafe {
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(x[0]), _mm256_cvtps_epi32(x[1]));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packs_epi16(
                _mm256_castsi256_si128(words),
                _mm256_extracti128_si256::<1>(words),
            );
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        both!(_mm256_fmadd_ps, a, b, c)
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        both!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    fn max_magnitude(self, a: Self::F, b: Self::F) -> Self::F {
        let (a, b) = (both!(_mm256_castps_si256, a), both!(_mm256_castps_si256, b));
        let larger = both!(_mm256_max_epi32, a, b);
        both!(_mm256_castsi256_ps, larger)
    }
    #[inline(always)]
    fn abs(self, x: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX2.
        let sign = unsafe { [_mm256_set1_ps(-0.0); 2] };
        both!(_mm256_andnot_ps, sign, x)
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: `self` proves AVX2.
        unsafe {
            [
                _mm256_round_ps::<NEAREST>(x[0]),
                _mm256_round_ps::<NEAREST>(x[1]),
            ]
        }
    }
    #[inline(always)]
    fn exp2_integral(self, n: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX2.
        let biased = unsafe {
            let bias = _mm256_set1_epi32(127);
            [
                _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n[0]), bias)),
                _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n[1]), bias)),
            ]
        };
        both!(_mm256_castsi256_ps, biased)
    }
    #[inline(always)]
    fn zero_f64(self) -> Self::D {
        // SAFETY: `self` proves AVX2.
        unsafe { [_mm256_setzero_pd(); 4] }
    }
    #[inline(always)]
    fn add_f64(self, acc: Self::D, x: Self::F) -> Self::D {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let low = |x| _mm256_cvtps_pd(_mm256_castps256_ps128(x));
            let high = |x| _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(x));
            [
                _mm256_add_pd(acc[0], low(x[0])),
                _mm256_add_pd(acc[1], high(x[0])),
                _mm256_add_pd(acc[2], low(x[1])),
                _mm256_add_pd(acc[3], high(x[1])),
            ]
        }
    }
    #[inline(always)]
    fn store_f64(self, acc: Self::D) -> [f64; LANES] {
        let mut out = [0.0; LANES];
        for (acc, out) in acc.into_iter().zip(out.as_chunks_mut::<4>().0) {
            // SAFETY: `self` proves AVX2; the store covers the four doubles.
            unsafe { _mm256_storeu_pd(out.as_mut_ptr(), acc) };
        }
        out
    }
}
