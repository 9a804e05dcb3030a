//! Products of the screen's codes in 256-bit registers.

use std::arch::x86_64::*;

use super::super::prefetch::prefetch_block;
use super::token::Avx2;
use crate::microkernel::screen::{Block, Planes, ScreenDot};

impl<const VNNI: bool> Avx2<VNNI> {
    /// Codes of the four lowest bits of each byte and the two above them.
    #[inline(always)]
    fn code(self, low: __m256i, high: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let low = _mm256_and_si256(low, _mm256_set1_epi8(15));
            _mm256_or_si256(low, _mm256_and_si256(high, _mm256_set1_epi8(0x30)))
        }
    }

    /// Half of the codes of a block: of each run, those of bytes `32 * half ..`.
    #[inline(always)]
    fn six_bits(self, block: &Block, half: usize) -> [__m256i; 4] {
        // SAFETY: `self` proves AVX2; the loads lie within the arrays.
        unsafe {
            let first = _mm256_loadu_si256(block.low.as_ptr().add(half * 32).cast());
            let second = _mm256_loadu_si256(block.low.as_ptr().add(64 + half * 32).cast());
            let high = _mm256_loadu_si256(block.high.as_ptr().add(half * 32).cast());
            [
                self.code(first, _mm256_slli_epi16::<4>(high)),
                self.code(_mm256_srli_epi16::<4>(first), _mm256_slli_epi16::<2>(high)),
                self.code(second, high),
                self.code(_mm256_srli_epi16::<4>(second), _mm256_srli_epi16::<2>(high)),
            ]
        }
    }

    /// Adds the products of two registers of codes below 64 with activations.
    ///
    /// Without VNNI, a pair of products is at most `2 * 63 * 128 = 16128` in magnitude, and two
    /// pairs fit 16 bits.
    #[inline(always)]
    fn add_six_bits(self, sum: __m256i, codes: [__m256i; 2], q: [__m256i; 2]) -> __m256i {
        // SAFETY: `self` proves AVX2, and AVX-VNNI where `VNNI` is set.
        unsafe {
            if VNNI {
                let sum = _mm256_dpbusd_avx_epi32(sum, codes[0], q[0]);
                _mm256_dpbusd_avx_epi32(sum, codes[1], q[1])
            } else {
                let pairs = _mm256_add_epi16(
                    _mm256_maddubs_epi16(codes[0], q[0]),
                    _mm256_maddubs_epi16(codes[1], q[1]),
                );
                _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
            }
        }
    }
}

impl<const VNNI: bool> ScreenDot for Avx2<VNNI> {
    #[inline(always)]
    fn screen<const R: usize, const T: usize>(
        self,
        rows: [&[Block]; R],
        tokens: [&[Planes]; T],
    ) -> [[[i32; 2]; T]; R] {
        // SAFETY: `self` proves AVX2; every load lies within the array that it is from.
        unsafe {
            let mut sums = [[[_mm256_setzero_si256(); 2]; T]; R];
            // Row after row: each is in a stream of its own.
            for (row, sums) in rows.iter().zip(&mut sums) {
                // With one token, two chains for each sum, so that none waits for its last
                // addition.
                let mut chains = [*sums; 2];
                for (i, block) in row.iter().enumerate() {
                    prefetch_block(row, i);
                    for half in 0..2 {
                        let [a, b, c, d] = self.six_bits(block, half);
                        for (t, token) in tokens.iter().enumerate() {
                            for plane in 0..2 {
                                let mut q = [_mm256_setzero_si256(); 4];
                                for (q, planes) in q.iter_mut().zip(&token[i].0) {
                                    let at = planes[plane].as_ptr().add(half * 32);
                                    *q = _mm256_loadu_si256(at.cast());
                                }
                                let sum = &mut chains[0][t][plane];
                                *sum = self.add_six_bits(*sum, [a, b], [q[0], q[1]]);
                                let sum = &mut chains[usize::from(T == 1)][t][plane];
                                *sum = self.add_six_bits(*sum, [c, d], [q[2], q[3]]);
                            }
                        }
                    }
                }
                for (t, sums) in sums.iter_mut().enumerate() {
                    for (plane, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm256_add_epi32(chains[0][t][plane], chains[1][t][plane]);
                    }
                }
            }
            let mut totals = [[[0; 2]; T]; R];
            self.add_lanes(
                sums.as_flattened().as_flattened(),
                totals.as_flattened_mut().as_flattened_mut(),
            );
            totals
        }
    }
}
