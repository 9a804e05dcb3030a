//! Products of rows as they lie in 256-bit registers.

use std::arch::x86_64::*;

use super::super::quantized;
use super::token::Avx2;
use crate::microkernel::dot::{BlockDot, ROWS};
use crate::microkernel::simd::{AHEAD, Simd};

/// Groups of 128 whose products a run holds: four steps each, 32 in all.
const RUN: usize = 8;

impl<const VNNI: bool> Avx2<VNNI> {
    /// Begins a run of at most 32 steps that are to be added to `sums`.
    #[inline(always)]
    pub(super) fn begin_run(self, sums: __m256i) -> __m256i {
        if VNNI {
            sums
        } else {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_setzero_si256() }
        }
    }

    /// Adds the products of codes, 0 ..= 3, with activations.
    ///
    /// With VNNI a run holds the sums themselves. Without it, it holds sixteen 16-bit sums of two
    /// products each: a pair is at most `2 * 3 * 128 = 768` in magnitude, and 32 of them at
    /// most 24576. So nothing ever saturates; the addition is the saturating one only because
    /// the compiler may not reorder it, which costs registers.
    #[inline(always)]
    pub(super) fn step(self, run: __m256i, codes: __m256i, q: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2, and AVX-VNNI where `VNNI` is set.
        unsafe {
            if VNNI {
                _mm256_dpbusd_avx_epi32(run, codes, q)
            } else {
                _mm256_adds_epi16(run, _mm256_maddubs_epi16(codes, q))
            }
        }
    }

    /// The sums with a run added; `sums` are those that it began with.
    #[inline(always)]
    pub(super) fn end_run(self, sums: __m256i, run: __m256i) -> __m256i {
        if VNNI {
            return run;
        }
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(run, _mm256_set1_epi16(1))) }
    }

    /// Four steps: the codes of byte `j` belong to activations `j`, `j + 32`, `j + 64` and `j +
    /// 96`, from the highest or the lowest bits on. With VNNI, steps take turns at the runs, so
    /// that none waits for the one before.
    #[inline(always)]
    fn add_group<const C: usize>(
        self,
        bytes: &[u8; 32],
        q: &[[i8; 32]; 4],
        highest_first: bool,
        mut runs: [__m256i; C],
    ) -> [__m256i; C] {
        // SAFETY: `self` proves AVX2; each load covers the 32 bytes of its array.
        unsafe {
            let mut bytes = _mm256_loadu_si256(bytes.as_ptr().cast());
            for place in 0..4 {
                let q = &q[if highest_first { 3 - place } else { place }];
                let codes = _mm256_and_si256(bytes, _mm256_set1_epi8(3));
                let run = &mut runs[if VNNI { place % C } else { 0 }];
                *run = self.step(*run, codes, _mm256_loadu_si256(q.as_ptr().cast()));
                bytes = _mm256_srli_epi16::<2>(bytes);
            }
            runs
        }
    }

    /// [`BlockDot::i2s_tile`] of some rows.
    #[inline(always)]
    fn add_rows<const R: usize, const T: usize>(
        self,
        rows: [&[[u8; 32]]; R],
        q: [&[[i8; 128]]; T],
        ahead: &[u8],
    ) -> [[i32; R]; T] {
        let groups = rows[0].len();
        let asked = ahead.len().div_ceil(groups.max(1));
        let mut sums = [[self.zero(); R]; T];
        for chunk in (0..groups).step_by(RUN) {
            let mut runs = sums;
            for t in 0..T {
                for r in 0..R {
                    runs[t][r] = self.begin_run(sums[t][r]);
                }
            }
            for i in chunk..groups.min(chunk + RUN) {
                self.prefetch(ahead, i * asked);
                let mut bytes = [self.zero(); R];
                for r in 0..R {
                    // SAFETY: `self` proves AVX2; the load covers the array.
                    bytes[r] = unsafe { _mm256_loadu_si256(rows[r][i].as_ptr().cast()) };
                }
                for place in 0..4 {
                    let mut codes = bytes;
                    for r in 0..R {
                        // SAFETY: `self` proves AVX2.
                        unsafe {
                            codes[r] = _mm256_and_si256(bytes[r], _mm256_set1_epi8(3));
                            bytes[r] = _mm256_srli_epi16::<2>(bytes[r]);
                        }
                    }
                    for t in 0..T {
                        let q = q[t][i].as_ptr();
                        // SAFETY: `self` proves AVX2; the load covers a quarter of the array.
                        let q = unsafe { _mm256_loadu_si256(q.add((3 - place) * 32).cast()) };
                        for r in 0..R {
                            runs[t][r] = self.step(runs[t][r], codes[r], q);
                        }
                    }
                }
            }
            for t in 0..T {
                for r in 0..R {
                    sums[t][r] = self.end_run(sums[t][r], runs[t][r]);
                }
            }
        }
        let mut totals = [[0; R]; T];
        self.add_lanes(sums.as_flattened(), totals.as_flattened_mut());
        totals
    }

    #[inline(always)]
    fn zero(self) -> __m256i {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_setzero_si256() }
    }

    /// The sum of the lanes of each register.
    #[inline(always)]
    pub(super) fn totals<const R: usize>(self, sums: [__m256i; R]) -> [i32; R] {
        let mut totals = [0; R];
        self.add_lanes(&sums, &mut totals);
        totals
    }

    /// As [`Self::totals`], for however many registers.
    #[inline(always)]
    pub(super) fn add_lanes(self, sums: &[__m256i], totals: &mut [i32]) {
        let (fours, rest) = totals.as_chunks_mut::<4>();
        let (sum_fours, sum_rest) = sums.as_chunks::<4>();
        for (totals, [a, b, c, d]) in fours.iter_mut().zip(sum_fours) {
            // SAFETY: `self` proves AVX2; the store covers the four integers.
            unsafe {
                let both = _mm256_hadd_epi32(_mm256_hadd_epi32(*a, *b), _mm256_hadd_epi32(*c, *d));
                let high = _mm256_extracti128_si256::<1>(both);
                let sums = _mm_add_epi32(_mm256_castsi256_si128(both), high);
                _mm_storeu_si128(totals.as_mut_ptr().cast(), sums);
            }
        }
        for (total, sums) in rest.iter_mut().zip(sum_rest) {
            let mut lanes = [0_i32; 8];
            // SAFETY: `self` proves AVX2; the store covers the eight integers.
            unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), *sums) };
            *total = lanes.into_iter().sum();
        }
    }
}

impl<const VNNI: bool> BlockDot for Avx2<VNNI> {
    #[inline(always)]
    fn q8_0(self, weights: &[u8; 32], q: &[i8; 32]) -> [i32; 8] {
        // SAFETY: `self` proves AVX2.
        unsafe { quantized::q8_0(weights, q) }
    }

    #[inline(always)]
    fn q6_k(self, block: &[u8; 210], q: &[i8; 256]) -> i32 {
        // SAFETY: `self` proves AVX2.
        unsafe { quantized::q6_k(block, q) }
    }

    #[inline(always)]
    fn i2s_rows<const R: usize>(self, rows: [&[u8]; R], q: &[i8]) -> [i32; R] {
        let groups = q.as_chunks::<32>().0.as_chunks::<4>().0;
        let mut sums = [self.zero(); R];
        // Row after row, so that the memory is read in one stream.
        for (row, sums) in rows.iter().zip(&mut sums) {
            let runs = row.as_chunks::<32>().0.chunks(RUN).zip(groups.chunks(RUN));
            for (chunk, (bytes, groups)) in runs.enumerate() {
                let mut runs = [self.zero(); 4];
                runs[0] = self.begin_run(*sums);
                for (i, (bytes, q)) in bytes.iter().zip(groups).enumerate() {
                    self.prefetch(row, (chunk * RUN + i) * 32 + AHEAD);
                    runs = self.add_group(bytes, q, true, runs);
                }
                let [mut all, others @ ..] = runs;
                if VNNI {
                    for run in others {
                        // SAFETY: `self` proves AVX2.
                        all = unsafe { _mm256_add_epi32(all, run) };
                    }
                }
                *sums = self.end_run(*sums, all);
            }
        }
        self.totals(sums)
    }

    const FEW_TOKENS: usize = 16;

    #[inline(always)]
    fn i2s_tile<const T: usize>(
        self,
        [e, f, g, h]: [&[[u8; 32]]; ROWS],
        q: [&[[i8; 128]]; T],
        ahead: &[u8],
    ) -> [[i32; ROWS]; T] {
        let (now, later) = ahead.split_at(ahead.len() / 2);
        // There are registers for the sums of two rows.
        let (first, second) = (
            self.add_rows([e, f], q, now),
            self.add_rows([g, h], q, later),
        );
        let mut totals = [[0; ROWS]; T];
        for (totals, ([e, f], [g, h])) in totals.iter_mut().zip(first.into_iter().zip(second)) {
            *totals = [e, f, g, h];
        }
        totals
    }

    #[inline(always)]
    fn tq2_0_rows<const R: usize>(self, qs: [&[u8; 64]; R], q: &[i8; 256]) -> [i32; R] {
        let [q_low, q_high] = &q.as_chunks::<32>().0.as_chunks::<4>().0 else {
            unreachable!("256 are two groups of 128");
        };
        let mut sums = [self.zero(); R];
        for (sums, qs) in sums.iter_mut().zip(qs) {
            let [low, high] = qs.as_chunks::<32>().0 else {
                unreachable!("64 are two groups of 32");
            };
            let run = [self.begin_run(*sums)];
            let run = self.add_group(low, q_low, false, run);
            let [run] = self.add_group(high, q_high, false, run);
            *sums = self.end_run(*sums, run);
        }
        self.totals(sums)
    }

    #[inline(always)]
    fn tq1_0_rows<const R: usize>(self, blocks: [&[u8; 54]; R], q: &[i8; 256]) -> [i32; R] {
        let mut codes = [[0; 64]; R];
        for (block, codes) in blocks.into_iter().zip(&mut codes) {
            self.repack(block, codes);
        }
        self.tq2_0_rows(codes.each_ref(), q)
    }
}
