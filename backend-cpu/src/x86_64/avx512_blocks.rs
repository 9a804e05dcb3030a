//! Products of rows as they lie in AVX-512.

use std::arch::x86_64::*;

use super::avx512::Avx512;
use super::{AHEAD, prefetch};
use crate::blocks::Blocks;
use crate::generic::ternary;

/// The bits of a byte that hold each of its four codes.
const PLACES: [i8; 4] = [0b11, 0b1100, 0b11_0000, 0b1100_0000_u8.cast_signed()];

impl<const VBMI: bool> Avx512<VBMI> {
    /// The activations of 256 codes in the order of [`PLACES`]: in each half of 128, the four codes of byte `j` belong
    /// to activations `j`, `j + 32`, `j + 64` and `j + 96`, from the highest or the lowest bits on.
    #[inline(always)]
    fn activations(self, q: &[i8; 256], highest_first: bool) -> [__m512i; 4] {
        // SAFETY: `self` proves AVX-512; every load lies within the array.
        unsafe {
            let mut activations = [_mm512_setzero_si512(); 4];
            for (place, activations) in activations.iter_mut().enumerate() {
                let run = if highest_first { 3 - place } else { place };
                let low = _mm256_loadu_si256(q.as_ptr().add(run * 32).cast());
                let high = _mm256_loadu_si256(q.as_ptr().add(128 + run * 32).cast());
                *activations = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
            }
            activations
        }
    }

    /// For each place of a code in its byte adds the products, as many times too large as the place is high.
    #[inline(always)]
    fn add_in_place(self, bytes: &[u8; 64], activations: [__m512i; 4], sums: &mut [__m512i; 4]) {
        // SAFETY: `self` proves AVX-512 with VNNI; the load covers the array.
        unsafe {
            let bytes = _mm512_loadu_si512(bytes.as_ptr().cast());
            for place in 0..4 {
                let codes = _mm512_and_si512(bytes, _mm512_set1_epi8(PLACES[place]));
                sums[place] = _mm512_dpbusd_epi32(sums[place], codes, activations[place]);
            }
        }
    }

    /// The products of 256 codes.
    #[inline(always)]
    fn products(self, bytes: &[u8; 64], activations: [__m512i; 4]) -> __m512i {
        // SAFETY: `self` proves AVX-512 with VNNI; the load covers the array.
        unsafe {
            let mut bytes = _mm512_loadu_si512(bytes.as_ptr().cast());
            let mut sums = _mm512_setzero_si512();
            for activations in activations {
                let codes = _mm512_and_si512(bytes, _mm512_set1_epi8(PLACES[0]));
                sums = _mm512_dpbusd_epi32(sums, codes, activations);
                bytes = _mm512_srli_epi16::<2>(bytes);
            }
            sums
        }
    }

    /// Takes the places of the codes out of account.
    #[inline(always)]
    fn placed(self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let ab = _mm512_add_epi32(a, _mm512_srai_epi32::<2>(b));
            let cd = _mm512_add_epi32(_mm512_srai_epi32::<4>(c), _mm512_srai_epi32::<6>(d));
            _mm512_add_epi32(ab, cd)
        }
    }

    /// The sum of the lanes of each register.
    #[inline(always)]
    fn totals<const R: usize>(self, sums: [__m512i; R]) -> [i32; R] {
        let mut totals = [0; R];
        let (fours, rest) = totals.as_chunks_mut::<4>();
        let (sum_fours, sum_rest) = sums.as_chunks::<4>();
        for (totals, [a, b, c, d]) in fours.iter_mut().zip(sum_fours) {
            // SAFETY: `self` proves AVX-512; the store covers the four integers.
            unsafe {
                // Folds the lanes of two registers into every other lane, twice, then the quarters of the register.
                let ab =
                    _mm512_add_epi32(_mm512_unpacklo_epi32(*a, *b), _mm512_unpackhi_epi32(*a, *b));
                let cd =
                    _mm512_add_epi32(_mm512_unpacklo_epi32(*c, *d), _mm512_unpackhi_epi32(*c, *d));
                let all =
                    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
                let high = _mm512_extracti64x4_epi64::<1>(all);
                let half = _mm256_add_epi32(_mm512_castsi512_si256(all), high);
                let high = _mm256_extracti128_si256::<1>(half);
                let quarter = _mm_add_epi32(_mm256_castsi256_si128(half), high);
                _mm_storeu_si128(totals.as_mut_ptr().cast(), quarter);
            }
        }
        for (total, sums) in rest.iter_mut().zip(sum_rest) {
            // SAFETY: `self` proves AVX-512.
            *total = unsafe { _mm512_reduce_add_epi32(*sums) };
        }
        totals
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_setzero_si512() }
    }
}

impl<const VBMI: bool> Blocks for Avx512<VBMI> {
    #[inline(always)]
    fn i2s_rows<const R: usize>(self, rows: [&[u8]; R], q: &[i8]) -> [i32; R] {
        let mut sums = [[self.zero(); 4]; R];
        let (q_pairs, q_rest) = q.as_chunks::<256>();
        for (i, q) in q_pairs.iter().enumerate() {
            let activations = self.activations(q, true);
            for (row, sums) in rows.iter().zip(&mut sums) {
                prefetch(row, i * 64 + AHEAD);
                self.add_in_place(&row.as_chunks().0[i], activations, sums);
            }
        }
        // One group of 128 may be left; zeros beside it add nothing.
        if !q_rest.is_empty() {
            let mut q = [0; 256];
            q[..128].copy_from_slice(q_rest);
            let activations = self.activations(&q, true);
            for (row, sums) in rows.iter().zip(&mut sums) {
                let mut bytes = [0; 64];
                bytes[..32].copy_from_slice(row.as_chunks::<64>().1);
                self.add_in_place(&bytes, activations, sums);
            }
        }
        let mut placed = [self.zero(); R];
        for (placed, sums) in placed.iter_mut().zip(sums) {
            *placed = self.placed(sums);
        }
        self.totals(placed)
    }

    #[inline(always)]
    fn tq2_0_rows<const R: usize>(self, qs: [&[u8; 64]; R], q: &[i8; 256]) -> [i32; R] {
        let activations = self.activations(q, false);
        let mut sums = [self.zero(); R];
        for (sums, qs) in sums.iter_mut().zip(qs) {
            *sums = self.products(qs, activations);
        }
        self.totals(sums)
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8], at: usize) {
        prefetch(bytes, at);
    }

    #[inline(always)]
    fn tq1_0_rows<const R: usize>(self, blocks: [&[u8; 54]; R], q: &[i8; 256]) -> [i32; R] {
        let mut codes = [[0; 64]; R];
        for (block, codes) in blocks.into_iter().zip(&mut codes) {
            self.repack(block, codes);
        }
        self.tq2_0_rows(codes.each_ref(), q)
    }

    #[inline(always)]
    fn repack(self, block: &[u8; 54], codes: &mut [u8; 64]) {
        if VBMI {
            self.repack_by_table(block, codes);
        } else {
            ternary::repack(block, codes);
        }
    }
}
