//! Products of the screen's codes in AVX-512.

#![expect(
    clippy::needless_range_loop,
    reason = "loops over indices are unrolled before sums are given registers"
)]

use std::arch::x86_64::*;

use super::token::Avx512;
use crate::microkernel::dot::Ahead;
use crate::microkernel::screen::{CodeLine, Plane, RUN, RUNS, ScreenDot};

impl<const VBMI: bool, const AMX: bool> Avx512<VBMI, AMX> {
    /// The codes of a block, a run to a register.
    #[inline(always)]
    fn codes<const LINES: usize>(self, block: &[CodeLine; LINES]) -> [__m512i; RUNS] {
        // SAFETY: `self` proves AVX-512; the loads cover the lines.
        unsafe {
            let mask = _mm512_set1_epi8((1 << (2 * LINES)) - 1);
            let mut codes = [_mm512_setzero_si512(); RUNS];
            let per_line = RUNS / LINES;
            for line in 0..LINES {
                let bytes = _mm512_loadu_si512(block[line].0.as_ptr().cast());
                for place in 0..per_line {
                    let shifted = match (LINES, place) {
                        (_, 0) => bytes,
                        (1, 1) => _mm512_srli_epi16::<2>(bytes),
                        (1, 3) => _mm512_srli_epi16::<6>(bytes),
                        _ => _mm512_srli_epi16::<4>(bytes),
                    };
                    codes[line * per_line + place] = _mm512_and_si512(shifted, mask);
                }
            }
            codes
        }
    }

    /// Adds the products of a run of codes of some rows with that run of each plane's block `i`.
    #[inline(always)]
    fn add_run<const R: usize, const P: usize>(
        self,
        codes: [__m512i; R],
        run: usize,
        i: usize,
        planes: [&[Plane]; P],
        mut sums: [[__m512i; P]; R],
    ) -> [[__m512i; P]; R] {
        for p in 0..P {
            // SAFETY: `self` proves AVX-512 with VNNI; the load covers the array.
            unsafe {
                let q = _mm512_loadu_si512(planes[p][i].0[run].as_ptr().cast());
                for r in 0..R {
                    sums[r][p] = _mm512_dpbusd_epi32(sums[r][p], codes[r], q);
                }
            }
        }
        sums
    }
}

impl<const VBMI: bool, const AMX: bool> ScreenDot for Avx512<VBMI, AMX> {
    const PAIRS: bool = true;

    #[inline(always)]
    fn screen<const LINES: usize, const R: usize, const P: usize>(
        self,
        rows: [&[[CodeLine; LINES]]; R],
        ahead: [Ahead<'_, [CodeLine; LINES]>; R],
        planes: [&[Plane]; P],
    ) -> [[i32; P]; R] {
        // SAFETY: `self` proves AVX-512 with VNNI; every load covers the array that it is from.
        unsafe {
            let mut sums = [[_mm512_setzero_si512(); P]; R];
            if P <= 2 {
                // Row after row: each is in a stream of its own.
                for r in 0..R {
                    // Two chains for each sum, so that none waits for its last addition.
                    let (mut even, mut odd) = ([sums[r]], [sums[r]]);
                    for (i, block) in rows[r].iter().enumerate() {
                        for line in 0..LINES {
                            ahead[r].prefetch(self, (i * LINES + line) * RUN);
                        }
                        let [a, b, c, d] = self.codes(block);
                        even = self.add_run([a], 0, i, planes, even);
                        odd = self.add_run([b], 1, i, planes, odd);
                        even = self.add_run([c], 2, i, planes, even);
                        odd = self.add_run([d], 3, i, planes, odd);
                    }
                    for p in 0..P {
                        sums[r][p] = _mm512_add_epi32(even[0][p], odd[0][p]);
                    }
                }
            } else {
                // The sums of several planes wait for one another less than for their activations,
                // which rows share.
                for i in 0..rows.first().map_or(0, |row| row.len()) {
                    let mut codes = [[_mm512_setzero_si512(); RUNS]; R];
                    for r in 0..R {
                        for line in 0..LINES {
                            ahead[r].prefetch(self, (i * LINES + line) * RUN);
                        }
                        codes[r] = self.codes(&rows[r][i]);
                    }
                    for run in 0..RUNS {
                        let mut run_codes = [_mm512_setzero_si512(); R];
                        for r in 0..R {
                            run_codes[r] = codes[r][run];
                        }
                        sums = self.add_run(run_codes, run, i, planes, sums);
                    }
                }
            }
            let mut totals = [[0; P]; R];
            self.add_lanes(sums.as_flattened(), totals.as_flattened_mut());
            totals
        }
    }
}
