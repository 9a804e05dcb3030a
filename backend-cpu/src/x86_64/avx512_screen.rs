//! Products of the screen's codes in AVX-512.

use std::arch::x86_64::*;

use super::avx512::Avx512;
use super::{AHEAD, prefetch};
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
    const TOKENS: usize = 8;

    #[inline(always)]
    fn screen<const R: usize, const T: usize>(
        self,
        rows: [&[Block]; R],
        tokens: [&[Planes]; T],
    ) -> [[[i32; 2]; T]; R] {
        // SAFETY: `self` proves AVX-512 with VNNI; every load covers the array that it is from.
        unsafe {
            let mut sums = [[[_mm512_setzero_si512(); 2]; T]; R];
            // Row after row, so that the memory is read in one stream.
            for (row, sums) in rows.iter().zip(&mut sums) {
                // Two chains for each sum of a single token, so that none waits for its last addition.
                let ways = if T == 1 { 2 } else { 1 };
                let mut chains = [[[_mm512_setzero_si512(); 2]; 2]; T];
                for (i, block) in row.iter().enumerate() {
                    for line in 0..size_of::<Block>() / 64 {
                        let at = i * size_of::<Block>() + line * 64 + AHEAD;
                        prefetch(row[0].low.as_slice(), at);
                    }
                    let codes = self.six_bits(block);
                    for (chains, token) in chains.iter_mut().zip(tokens) {
                        for (run, (codes, q)) in codes.iter().zip(&token[i].0).enumerate() {
                            for (sum, q) in chains[run % ways].iter_mut().zip(q) {
                                let q = _mm512_loadu_si512(q.as_ptr().cast());
                                *sum = _mm512_dpbusd_epi32(*sum, *codes, q);
                            }
                        }
                    }
                }
                for (sums, [even, odd]) in sums.iter_mut().zip(chains) {
                    for (plane, sum) in sums.iter_mut().enumerate() {
                        *sum = _mm512_add_epi32(even[plane], odd[plane]);
                    }
                }
            }
            let mut totals = [[[0; 2]; T]; R];
            let (fours, pairs) = sums.as_flattened().as_flattened().as_chunks::<4>();
            let (total_fours, total_pairs) = totals
                .as_flattened_mut()
                .as_flattened_mut()
                .as_chunks_mut::<4>();
            for (totals, sums) in total_fours.iter_mut().zip(fours) {
                *totals = self.totals(*sums);
            }
            for (total, sums) in total_pairs.iter_mut().zip(pairs) {
                *total = _mm512_reduce_add_epi32(*sums);
            }
            totals
        }
    }
}
