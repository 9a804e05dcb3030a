//! Products of the screen's codes in 256-bit registers.

use std::arch::x86_64::*;

use super::token::Avx2;
use crate::microkernel::dot::Ahead;
use crate::microkernel::screen::{CodeLine, Plane, RUN, RUNS, ScreenDot};

impl<const VNNI: bool> Avx2<VNNI> {
    /// Half of the codes of a block: of each run, those of bytes `32 * half ..`.
    #[inline(always)]
    fn half_codes<const LINES: usize>(
        self,
        block: &[CodeLine; LINES],
        half: usize,
    ) -> [__m256i; RUNS] {
        // SAFETY: `self` proves AVX2; the loads lie within the lines.
        unsafe {
            let mask = _mm256_set1_epi8((1 << (2 * LINES)) - 1);
            let mut codes = [_mm256_setzero_si256(); RUNS];
            for (runs, line) in codes.chunks_exact_mut(RUNS / LINES).zip(block) {
                let mut bytes = _mm256_loadu_si256(line.0.as_ptr().add(half * 32).cast());
                for run in runs {
                    *run = _mm256_and_si256(bytes, mask);
                    bytes = match LINES {
                        1 => _mm256_srli_epi16::<2>(bytes),
                        _ => _mm256_srli_epi16::<4>(bytes),
                    };
                }
            }
            codes
        }
    }

    /// The sums of pairs of products of four registers of codes below 16 with activations, in 16
    /// bits: at most `4 * 2 * 15 * 128 = 15360` in magnitude, so that two of them can be added.
    #[inline(always)]
    fn pairs(self, codes: [__m256i; RUNS], q: [__m256i; RUNS]) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let first = _mm256_add_epi16(
                _mm256_maddubs_epi16(codes[0], q[0]),
                _mm256_maddubs_epi16(codes[1], q[1]),
            );
            let second = _mm256_add_epi16(
                _mm256_maddubs_epi16(codes[2], q[2]),
                _mm256_maddubs_epi16(codes[3], q[3]),
            );
            _mm256_add_epi16(first, second)
        }
    }

    /// The sums of a row's codes with the activations of each plane, a part of each in every lane.
    /// With at most two planes, products wait for one another less.
    #[inline(always)]
    fn add_row<const LINES: usize, const P: usize>(
        self,
        row: &[[CodeLine; LINES]],
        ahead: Ahead<'_, [CodeLine; LINES]>,
        planes: [&[Plane]; P],
    ) -> [__m256i; P] {
        // SAFETY: `self` proves AVX2, and AVX-VNNI where `VNNI` is set; every load lies within the
        // array that it is from.
        unsafe {
            let few = P <= 2;
            // With VNNI, chains that do not wait for one another; without, the first is the sum
            // and the second what the first half of a block came to.
            let mut chains = [[_mm256_setzero_si256(); P]; 4];
            for (i, block) in row.iter().enumerate() {
                for line in 0..LINES {
                    ahead.prefetch(self, (i * LINES + line) * RUN);
                }
                for half in 0..2 {
                    let codes = self.half_codes(block, half);
                    for (p, plane) in planes.iter().enumerate() {
                        let mut q = [_mm256_setzero_si256(); RUNS];
                        for (q, run) in q.iter_mut().zip(&plane[i].0) {
                            *q = _mm256_loadu_si256(run.as_ptr().add(half * 32).cast());
                        }
                        if VNNI {
                            for run in 0..RUNS {
                                let chain = if few { 2 * half + run % 2 } else { 0 };
                                let sum = &mut chains[chain][p];
                                *sum = _mm256_dpbusd_avx_epi32(*sum, codes[run], q[run]);
                            }
                            continue;
                        }
                        let mut pairs = self.pairs(codes, q);
                        if few && half == 0 {
                            chains[1][p] = pairs;
                            continue;
                        }
                        if few {
                            pairs = _mm256_add_epi16(pairs, chains[1][p]);
                        }
                        let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
                        chains[0][p] = _mm256_add_epi32(chains[0][p], fours);
                    }
                }
            }
            let mut sums = chains[0];
            if VNNI && few {
                for (p, sum) in sums.iter_mut().enumerate() {
                    let rest = _mm256_add_epi32(chains[2][p], chains[3][p]);
                    *sum = _mm256_add_epi32(_mm256_add_epi32(*sum, chains[1][p]), rest);
                }
            }
            sums
        }
    }
}

impl<const VNNI: bool> ScreenDot for Avx2<VNNI> {
    #[inline(always)]
    fn screen<const LINES: usize, const R: usize, const P: usize>(
        self,
        rows: [&[[CodeLine; LINES]]; R],
        ahead: [Ahead<'_, [CodeLine; LINES]>; R],
        planes: [&[Plane]; P],
    ) -> [[i32; P]; R] {
        // SAFETY: `self` proves AVX2.
        let mut sums = unsafe { [[_mm256_setzero_si256(); P]; R] };
        // Row after row: each is in a stream of its own.
        for ((row, ahead), sums) in rows.iter().zip(ahead).zip(&mut sums) {
            *sums = self.add_row(row, ahead, planes);
        }
        let mut totals = [[0; P]; R];
        self.add_lanes(sums.as_flattened(), totals.as_flattened_mut());
        totals
    }
}
