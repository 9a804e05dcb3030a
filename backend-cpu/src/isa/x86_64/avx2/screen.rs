//! Products of the screen's codes in 256-bit registers.

use std::arch::x86_64::*;

use super::token::Avx2;
use crate::microkernel::dot::DOT_ROWS;
use crate::microkernel::screen::{CodeLine, Codes, CodesAhead, Plane, RUNS, ScreenDot};

impl<const VNNI: bool> Avx2<VNNI> {
    /// Half of the codes of a block: of each run, those of bytes `32 * half ..`.
    #[inline(always)]
    fn half_codes<const ALL: bool>(
        self,
        row: Codes<'_>,
        block: usize,
        half: usize,
    ) -> [__m256i; RUNS] {
        // SAFETY: `self` proves AVX2; the loads lie within the lines.
        unsafe {
            let bytes = |line: &CodeLine| _mm256_loadu_si256(line.0.as_ptr().add(half * 32).cast());
            let [first, second] = &row.coarse[block];
            let (first, second) = (bytes(first), bytes(second));
            if !ALL {
                let low = _mm256_set1_epi8(15);
                return [
                    _mm256_and_si256(first, low),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(first), low),
                    _mm256_and_si256(second, low),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(second), low),
                ];
            }
            let fine = bytes(&row.fine[block][0]);
            let join = |high, fine| {
                let high = _mm256_and_si256(high, _mm256_set1_epi8(60));
                _mm256_or_si256(high, _mm256_and_si256(fine, _mm256_set1_epi8(3)))
            };
            [
                join(_mm256_slli_epi16::<2>(first), fine),
                join(_mm256_srli_epi16::<2>(first), _mm256_srli_epi16::<2>(fine)),
                join(_mm256_slli_epi16::<2>(second), _mm256_srli_epi16::<4>(fine)),
                join(_mm256_srli_epi16::<2>(second), _mm256_srli_epi16::<6>(fine)),
            ]
        }
    }

    /// The sums of four products each of registers of codes below 64 with activations: those of
    /// pairs take 16 bits, at most `2 * 2 * 63 * 128 = 32256` in magnitude for two registers.
    #[inline(always)]
    fn fours(self, codes: [__m256i; RUNS], q: [__m256i; RUNS]) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let one = _mm256_set1_epi16(1);
            let first = _mm256_add_epi16(
                _mm256_maddubs_epi16(codes[0], q[0]),
                _mm256_maddubs_epi16(codes[1], q[1]),
            );
            let second = _mm256_add_epi16(
                _mm256_maddubs_epi16(codes[2], q[2]),
                _mm256_maddubs_epi16(codes[3], q[3]),
            );
            _mm256_add_epi32(
                _mm256_madd_epi16(first, one),
                _mm256_madd_epi16(second, one),
            )
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
    fn add_row<const ALL: bool, const P: usize>(
        self,
        row: Codes<'_>,
        ahead: CodesAhead<'_>,
        planes: [&[Plane]; P],
    ) -> [__m256i; P] {
        // SAFETY: `self` proves AVX2, and AVX-VNNI where `VNNI` is set; every load lies within the
        // array that it is from.
        unsafe {
            let few = P <= 2;
            // Chains that do not wait for one another; without VNNI, of high bits alone, the first
            // is the sum and the second what the first half of a block came to.
            let mut chains = [[_mm256_setzero_si256(); P]; 4];
            for i in 0..row.coarse.len() {
                ahead.prefetch::<ALL, _>(self, i);
                for half in 0..2 {
                    let codes = self.half_codes::<ALL>(row, i, half);
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
                        if ALL {
                            let sum = &mut chains[if few { half } else { 0 }][p];
                            *sum = _mm256_add_epi32(*sum, self.fours(codes, q));
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
            if few && (VNNI || ALL) {
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
    /// With two areas of codes, four streams are more than Zen 3 follows.
    const STREAMS: usize = if VNNI { DOT_ROWS } else { 2 };

    #[inline(always)]
    fn screen<const ALL: bool, const R: usize, const P: usize>(
        self,
        rows: [Codes<'_>; R],
        ahead: [CodesAhead<'_>; R],
        planes: [&[Plane]; P],
    ) -> [[i32; P]; R] {
        // SAFETY: `self` proves AVX2.
        let mut sums = unsafe { [[_mm256_setzero_si256(); P]; R] };
        // Row after row: adjacent ones are in different streams.
        for ((row, ahead), sums) in rows.iter().zip(ahead).zip(&mut sums) {
            *sums = self.add_row::<ALL, P>(*row, ahead, planes);
        }
        let mut totals = [[0; P]; R];
        self.add_lanes(sums.as_flattened(), totals.as_flattened_mut());
        totals
    }
}
