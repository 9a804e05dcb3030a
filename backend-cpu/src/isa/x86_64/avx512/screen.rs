//! Products of the screen's codes in AVX-512.

#![expect(
    clippy::needless_range_loop,
    reason = "loops over indices are unrolled before sums are given registers"
)]

use std::arch::x86_64::*;

use super::super::prefetch::prefetch_block;
use super::token::Avx512;
use crate::microkernel::screen::{Block, Planes, ScreenDot};

impl<const VBMI: bool, const AMX: bool> Avx512<VBMI, AMX> {
    /// Codes of the four lowest bits of each byte and the two above them.
    #[inline(always)]
    fn code(self, low: __m512i, high: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let high = _mm512_and_si512(high, _mm512_set1_epi8(0x30));
            // (low & 15) | high
            _mm512_ternarylogic_epi32::<0xf8>(high, low, _mm512_set1_epi8(15))
        }
    }

    /// Adds the products of a run of codes of some rows with that run of each token's block `i`.
    #[inline(always)]
    fn add_run<const R: usize, const T: usize>(
        self,
        codes: [__m512i; R],
        run: usize,
        i: usize,
        tokens: [&[Planes]; T],
        mut sums: [[[__m512i; 2]; T]; R],
    ) -> [[[__m512i; 2]; T]; R] {
        for t in 0..T {
            for plane in 0..2 {
                // SAFETY: `self` proves AVX-512 with VNNI; the load covers the array.
                unsafe {
                    let q = tokens[t][i].0[run][plane].as_ptr();
                    let q = _mm512_loadu_si512(q.cast());
                    for r in 0..R {
                        sums[r][t][plane] = _mm512_dpbusd_epi32(sums[r][t][plane], codes[r], q);
                    }
                }
            }
        }
        sums
    }

    /// The codes of a block, a run to a register.
    #[inline(always)]
    fn six_bits(self, block: &Block) -> [__m512i; 4] {
        // SAFETY: `self` proves AVX-512; the loads cover the arrays.
        unsafe {
            let (first, second) = (block.low.as_ptr(), block.low.as_ptr().add(64));
            let (first, second) = (
                _mm512_loadu_si512(first.cast()),
                _mm512_loadu_si512(second.cast()),
            );
            let high = _mm512_loadu_si512(block.high.as_ptr().cast());
            [
                self.code(first, _mm512_slli_epi16::<4>(high)),
                self.code(_mm512_srli_epi16::<4>(first), _mm512_slli_epi16::<2>(high)),
                self.code(second, high),
                self.code(_mm512_srli_epi16::<4>(second), _mm512_srli_epi16::<2>(high)),
            ]
        }
    }
}

impl<const VBMI: bool, const AMX: bool> ScreenDot for Avx512<VBMI, AMX> {
    const PAIRS: bool = true;

    #[inline(always)]
    fn screen<const R: usize, const T: usize>(
        self,
        rows: [&[Block]; R],
        tokens: [&[Planes]; T],
    ) -> [[[i32; 2]; T]; R] {
        // SAFETY: `self` proves AVX-512 with VNNI; every load covers the array that it is from.
        unsafe {
            let mut sums = [[[_mm512_setzero_si512(); 2]; T]; R];
            if T == 1 {
                // Row after row: each is in a stream of its own.
                for r in 0..R {
                    // Two chains for each sum, so that none waits for its last addition.
                    let (mut even, mut odd) = ([sums[r]], [sums[r]]);
                    for (i, block) in rows[r].iter().enumerate() {
                        prefetch_block(rows[r], i);
                        let [a, b, c, d] = self.six_bits(block);
                        even = self.add_run([a], 0, i, tokens, even);
                        odd = self.add_run([b], 1, i, tokens, odd);
                        even = self.add_run([c], 2, i, tokens, even);
                        odd = self.add_run([d], 3, i, tokens, odd);
                    }
                    for t in 0..T {
                        for plane in 0..2 {
                            sums[r][t][plane] =
                                _mm512_add_epi32(even[0][t][plane], odd[0][t][plane]);
                        }
                    }
                }
            } else {
                // The sums of several tokens wait for one another less than for their activations,
                // which rows share.
                for i in 0..rows.first().map_or(0, |row| row.len()) {
                    let mut codes = [[_mm512_setzero_si512(); 4]; R];
                    for r in 0..R {
                        prefetch_block(rows[r], i);
                        codes[r] = self.six_bits(&rows[r][i]);
                    }
                    for run in 0..4 {
                        let mut run_codes = [_mm512_setzero_si512(); R];
                        for r in 0..R {
                            run_codes[r] = codes[r][run];
                        }
                        sums = self.add_run(run_codes, run, i, tokens, sums);
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
