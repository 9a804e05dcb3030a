//! AVX-512 (F, BW, DQ, VL) with VNNI: one register of sixteen lanes, four byte products to a lane.

use std::arch::x86_64::*;

use bitnet_kernels::order::LANES;

use crate::blocks::Blocks;
use crate::isa::Isa;
use crate::lanes::Lanes;
use crate::table::{Kernels, kernels};

/// Proof that the CPU has AVX-512 F, BW, DQ, VL and VNNI, and AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

impl Avx512 {
    /// The token, if the CPU has what it stands for.
    pub(crate) fn new() -> Option<Avx512> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Avx512(()))
    }

    /// The kernels of this instruction set.
    pub(crate) fn kernels(self) -> &'static Kernels {
        static KERNELS: Kernels = kernels!(
            Isa::Avx512,
            "avx512",
            Avx512(()),
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        );
        &KERNELS
    }

    /// Adds the products of 256 two-bit codes with their activations to `sums`. In each half of 128, the four codes
    /// of byte `j` belong to activations `j`, `j + 32`, `j + 64` and `j + 96`, from the highest or the lowest bits on.
    #[inline(always)]
    fn codes_times(
        self,
        bytes: &[u8; 64],
        q: &[i8; 256],
        highest_first: bool,
        sums: __m512i,
    ) -> __m512i {
        // SAFETY: `self` proves AVX-512 with VNNI; every load lies within its array.
        unsafe {
            let bytes = _mm512_loadu_si512(bytes.as_ptr().cast());
            let mask = _mm512_set1_epi8(3);
            let codes = [
                _mm512_and_si512(bytes, mask),
                _mm512_and_si512(_mm512_srli_epi16::<2>(bytes), mask),
                _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask),
                _mm512_and_si512(_mm512_srli_epi16::<6>(bytes), mask),
            ];
            let mut sums = sums;
            for (group, codes) in codes.into_iter().enumerate() {
                let run = if highest_first { 3 - group } else { group };
                let low = _mm256_loadu_si256(q.as_ptr().add(run * 32).cast());
                let high = _mm256_loadu_si256(q.as_ptr().add(128 + run * 32).cast());
                let q = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
                sums = _mm512_dpbusd_epi32(sums, codes, q);
            }
            sums
        }
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn total(self, sums: __m512i) -> i32 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_reduce_add_epi32(sums) }
    }
}

impl Lanes for Avx512 {
    type F = __m512;
    type D = [__m512d; 2];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        // SAFETY: `self` proves AVX-512; the load covers the 16 floats.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, x: Self::F, out: &mut [f32; LANES]) {
        // SAFETY: `self` proves AVX-512; the store covers the 16 floats.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) }
    }
    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        // SAFETY: `self` proves AVX-512; the load covers the 32 bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(x.as_ptr().cast())) }
    }
    #[inline(always)]
    fn store_f16(self, x: Self::F, out: &mut [u16; LANES]) {
        // SAFETY: `self` proves AVX-512; the store covers the 32 bytes.
        unsafe {
            let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            _mm256_storeu_si256(out.as_mut_ptr().cast(), halves);
        }
    }
    #[inline(always)]
    fn load_bf16(self, x: &[u16; LANES]) -> Self::F {
        // SAFETY: `self` proves AVX-512; the load covers the 32 bytes.
        unsafe {
            let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(x.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
        }
    }
    #[inline(always)]
    fn store_i8(self, x: Self::F, out: &mut [i8; LANES]) {
        // SAFETY: `self` proves AVX-512; the store covers the 16 bytes.
        unsafe {
            _mm_storeu_si128(
                out.as_mut_ptr().cast(),
                _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x)),
            )
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn abs(self, x: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_abs_ps(x) }
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) }
    }
    #[inline(always)]
    fn exp2_integral(self, n: Self::F) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn zero_f64(self) -> Self::D {
        // SAFETY: `self` proves AVX-512.
        unsafe { [_mm512_setzero_pd(); 2] }
    }
    #[inline(always)]
    fn add_f64(self, acc: Self::D, x: Self::F) -> Self::D {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let low = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
            let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(x));
            [_mm512_add_pd(acc[0], low), _mm512_add_pd(acc[1], high)]
        }
    }
    #[inline(always)]
    fn store_f64(self, acc: Self::D) -> [f64; LANES] {
        let mut out = [0.0; LANES];
        for (acc, out) in acc.into_iter().zip(out.as_chunks_mut::<8>().0) {
            // SAFETY: `self` proves AVX-512; the store covers the eight doubles.
            unsafe { _mm512_storeu_pd(out.as_mut_ptr(), acc) };
        }
        out
    }
}

impl Blocks for Avx512 {
    #[inline(always)]
    fn i2s(self, row: &[u8], q: &[i8]) -> i32 {
        let (pairs, rest) = row.as_chunks::<64>();
        let (q_pairs, q_rest) = q.as_chunks::<256>();
        let mut sums = self.zero();
        for (bytes, q) in pairs.iter().zip(q_pairs) {
            sums = self.codes_times(bytes, q, true, sums);
        }
        // One group of 128 may be left; zeros beside it add nothing.
        if !rest.is_empty() {
            let (mut bytes, mut q) = ([0; 64], [0; 256]);
            bytes[..32].copy_from_slice(rest);
            q[..128].copy_from_slice(q_rest);
            sums = self.codes_times(&bytes, &q, true, sums);
        }
        self.total(sums)
    }

    #[inline(always)]
    fn tq2_0(self, qs: &[u8; 64], q: &[i8; 256]) -> i32 {
        self.total(self.codes_times(qs, q, false, self.zero()))
    }
}
