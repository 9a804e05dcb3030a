//! AVX2 with FMA and F16C, and with AVX-VNNI on top of it: two registers of eight lanes.

use std::arch::x86_64::*;

use bitnet_kernels::order::LANES;

use crate::blocks::Blocks;
use crate::isa::Isa;
use crate::lanes::Lanes;
use crate::table::{Kernels, kernels};

/// Proof that the CPU has AVX2, FMA and F16C, and AVX-VNNI where `VNNI` is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2<const VNNI: bool>(());

impl<const VNNI: bool> Avx2<VNNI> {
    /// The token, if the CPU has what it stands for.
    pub(crate) fn new() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
            && (!VNNI || is_x86_feature_detected!("avxvnni"));
        found.then_some(Avx2(()))
    }
}

impl Avx2<false> {
    /// The kernels of AVX2.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            Isa::Avx2,
            "avx2",
            Avx2::<false>(()),
            #[target_feature(enable = "avx2,fma,f16c")]
        );
        &KERNELS
    }
}

impl Avx2<true> {
    /// The kernels of AVX-VNNI.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            Isa::AvxVnni,
            "avxvnni",
            Avx2::<true>(()),
            #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
        );
        &KERNELS
    }
}

/// Applies an intrinsic to both halves.
macro_rules! both {
    ($intrinsic:ident, $($arg:expr),+) => {
        // SAFETY: `self` proves that the CPU has AVX2, FMA and F16C; the intrinsic touches registers only.
        unsafe { [$intrinsic($($arg[0]),+), $intrinsic($($arg[1]),+)] }
    };
}

impl<const VNNI: bool> Lanes for Avx2<VNNI> {
    type F = [__m256; 2];
    type D = [__m256d; 4];

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
            [_mm_loadu_si128(at), _mm_loadu_si128(at.add(1))]
                .map(|x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(x))))
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
    fn abs(self, x: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX2.
        let sign = unsafe { [_mm256_set1_ps(-0.0); 2] };
        both!(_mm256_andnot_ps, sign, x)
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX2.
        unsafe {
            x.map(|x| _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x))
        }
    }
    #[inline(always)]
    fn exp2_integral(self, n: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX2.
        unsafe {
            n.map(|n| {
                let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
            })
        }
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

impl<const VNNI: bool> Avx2<VNNI> {
    /// Sums the 16-bit products of adjacent unsigned codes and signed activations into 32 bits.
    ///
    /// `codes` are at most 3 and `|q| <= 128`, so that a pair is at most 768 in magnitude and four of them
    /// stay within 16 bits.
    #[inline(always)]
    fn codes_times(self, codes: [__m256i; 4], q: [&[i8; 32]; 4], sums: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2; each load covers the 32 bytes of its array.
        unsafe {
            let mut pairs = _mm256_setzero_si256();
            for (codes, q) in codes.into_iter().zip(q) {
                let q = _mm256_loadu_si256(q.as_ptr().cast());
                pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(codes, q));
            }
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    /// The four 2-bit codes of each byte, the lowest bits first.
    #[inline(always)]
    fn unpacked(self, bytes: &[u8; 32]) -> [__m256i; 4] {
        // SAFETY: `self` proves AVX2; the load covers the 32 bytes.
        unsafe {
            let bytes = _mm256_loadu_si256(bytes.as_ptr().cast());
            let mask = _mm256_set1_epi8(3);
            [
                _mm256_and_si256(bytes, mask),
                _mm256_and_si256(_mm256_srli_epi16::<2>(bytes), mask),
                _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), mask),
                _mm256_and_si256(_mm256_srli_epi16::<6>(bytes), mask),
            ]
        }
    }

    #[inline(always)]
    fn total(self, sums: __m256i) -> i32 {
        let mut lanes = [0_i32; 8];
        // SAFETY: `self` proves AVX2; the store covers the eight integers.
        unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums) };
        lanes.into_iter().sum()
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_setzero_si256() }
    }
}

impl<const VNNI: bool> Blocks for Avx2<VNNI> {
    #[inline(always)]
    fn i2s(self, row: &[u8], q: &[i8]) -> i32 {
        let mut sums = self.zero();
        for (bytes, q) in row
            .as_chunks::<32>()
            .0
            .iter()
            .zip(q.as_chunks::<32>().0.as_chunks::<4>().0)
        {
            let [a, b, c, d] = q;
            sums = self.codes_times(self.unpacked(bytes), [d, c, b, a], sums);
        }
        self.total(sums)
    }

    #[inline(always)]
    fn tq2_0(self, qs: &[u8; 64], q: &[i8; 256]) -> i32 {
        let mut sums = self.zero();
        for (bytes, q) in qs
            .as_chunks::<32>()
            .0
            .iter()
            .zip(q.as_chunks::<32>().0.as_chunks::<4>().0)
        {
            let [a, b, c, d] = q;
            sums = self.codes_times(self.unpacked(bytes), [a, b, c, d], sums);
        }
        self.total(sums)
    }
}
