//! Products of the screen's codes in AVX-512.

#![expect(
    clippy::needless_range_loop,
    reason = "loops over indices are unrolled before sums are given registers"
)]

use std::arch::x86_64::*;

use super::token::Avx512;
use crate::microkernel::screen::{Codes, CodesAhead, Plane, RUNS, ScreenDot};

impl<const VBMI: bool, const AMX: bool> Avx512<VBMI, AMX> {
    /// The codes of a block, a run to a register.
    #[inline(always)]
    fn codes<const ALL: bool>(self, row: Codes<'_>, block: usize) -> [__m512i; RUNS] {
        // SAFETY: `self` proves AVX-512; the loads cover the lines.
        unsafe {
            let [first, second] = &row.coarse[block];
            let first = _mm512_loadu_si512(first.0.as_ptr().cast());
            let second = _mm512_loadu_si512(second.0.as_ptr().cast());
            if !ALL {
                let low = _mm512_set1_epi8(15);
                return [
                    _mm512_and_si512(first, low),
                    _mm512_and_si512(_mm512_srli_epi16::<4>(first), low),
                    _mm512_and_si512(second, low),
                    _mm512_and_si512(_mm512_srli_epi16::<4>(second), low),
                ];
            }
            let fine = _mm512_loadu_si512(row.fine[block][0].0.as_ptr().cast());
            // Where bits are set here, those of the second, elsewhere those of the first.
            let low = _mm512_set1_epi8(3);
            let join = |high, fine| {
                let code = _mm512_ternarylogic_epi32::<0xca>(low, fine, high);
                _mm512_and_si512(code, _mm512_set1_epi8(63))
            };
            [
                join(_mm512_slli_epi16::<2>(first), fine),
                join(_mm512_srli_epi16::<2>(first), _mm512_srli_epi16::<2>(fine)),
                join(_mm512_slli_epi16::<2>(second), _mm512_srli_epi16::<4>(fine)),
                join(_mm512_srli_epi16::<2>(second), _mm512_srli_epi16::<6>(fine)),
            ]
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
    fn screen<const ALL: bool, const R: usize, const P: usize>(
        self,
        rows: [Codes<'_>; R],
        ahead: [CodesAhead<'_>; R],
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
                    for i in 0..rows[r].coarse.len() {
                        ahead[r].prefetch::<ALL, _>(self, i);
                        let [a, b, c, d] = self.codes::<ALL>(rows[r], i);
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
                for i in 0..rows.first().map_or(0, |row| row.coarse.len()) {
                    let mut codes = [[_mm512_setzero_si512(); RUNS]; R];
                    for r in 0..R {
                        ahead[r].prefetch::<ALL, _>(self, i);
                        codes[r] = self.codes::<ALL>(rows[r], i);
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
