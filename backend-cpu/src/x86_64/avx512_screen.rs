//! Products of the screen's codes in AVX-512.

use std::arch::x86_64::*;

use super::avx512::Avx512;
use super::prefetch_block;
use crate::screens::{Block, Planes, Screens};

impl<const VBMI: bool> Avx512<VBMI> {
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

    /// Adds the products of a run of codes of block `i` with each token's activations.
    #[inline(always)]
    fn add_run<const T: usize>(
        self,
        codes: __m512i,
        run: usize,
        i: usize,
        tokens: [&[Planes]; T],
        sums: &mut [[__m512i; 2]; T],
    ) {
        for (sums, token) in sums.iter_mut().zip(tokens) {
            for (sum, q) in sums.iter_mut().zip(&token[i].0[run]) {
                // SAFETY: `self` proves AVX-512 with VNNI; the load covers the array.
                unsafe {
                    let q = _mm512_loadu_si512(q.as_ptr().cast());
                    *sum = _mm512_dpbusd_epi32(*sum, codes, q);
                }
            }
        }
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

impl<const VBMI: bool> Screens for Avx512<VBMI> {
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
                // Row after row, so that the memory is read in one stream.
                for (row, sums) in rows.iter().zip(&mut sums) {
                    // Two chains for each sum, so that none waits for its last addition.
                    let mut odd = [[_mm512_setzero_si512(); 2]; T];
                    for (i, block) in row.iter().enumerate() {
                        prefetch_block(row, i);
                        let [a, b, c, d] = self.six_bits(block);
                        self.add_run(a, 0, i, tokens, sums);
                        self.add_run(b, 1, i, tokens, &mut odd);
                        self.add_run(c, 2, i, tokens, sums);
                        self.add_run(d, 3, i, tokens, &mut odd);
                    }
                    for (sums, odd) in sums.iter_mut().zip(odd) {
                        for (sum, odd) in sums.iter_mut().zip(odd) {
                            *sum = _mm512_add_epi32(*sum, odd);
                        }
                    }
                }
            } else {
                // The sums of several tokens wait for one another less than for their activations, which rows share.
                for i in 0..rows.first().map_or(0, |row| row.len()) {
                    for (row, sums) in rows.iter().zip(&mut sums) {
                        prefetch_block(row, i);
                        for (run, codes) in self.six_bits(&row[i]).into_iter().enumerate() {
                            self.add_run(codes, run, i, tokens, sums);
                        }
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
