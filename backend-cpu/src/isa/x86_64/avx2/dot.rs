//! Dot products of blocks in 256-bit registers: rows as they lie.

use std::arch::asm;
use std::arch::x86_64::*;

use bitnet_kernels::format::{Q8_0_BLOCK, Q8K_BLOCK, q4_k, q5_k, q6_k, q8_0, tq1_0};

use super::super::quantized;
use super::token::Avx2;
use crate::microkernel::dot::{Ahead, BlockDot, DOT_ROWS, GroupSums, WithMinima};
use crate::microkernel::gemm::{GROUP, GROUP_BYTES};
use crate::microkernel::trits::BlockCodes;

/// Bytes of a register.
const REGISTER: usize = size_of::<__m256i>();

/// Groups whose products partial sums can hold: four steps each, 32 in all.
const PARTIAL_GROUPS: usize = 8;

/// `a + b`, an addition that the compiler does not know and so leaves where it stands: one that it
/// knows it reorders, which costs registers. The saturating one, which it would leave alone too, is
/// slower on most cores.
#[inline]
#[target_feature(enable = "avx2")]
fn add_i16(a: __m256i, b: __m256i) -> __m256i {
    let sums;
    // SAFETY: registers in, a register out.
    unsafe {
        asm!("vpaddw {sums}, {a}, {b}", sums = lateout(ymm_reg) sums, a = in(ymm_reg) a,
            b = in(ymm_reg) b, options(pure, nomem, nostack, preserves_flags));
    }
    sums
}

impl<const VNNI: bool> Avx2<VNNI> {
    /// Partial sums of at most 32 steps that are to be added to `sums`.
    #[inline(always)]
    pub(super) fn begin_partial(self, sums: __m256i) -> __m256i {
        if VNNI {
            sums
        } else {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_setzero_si256() }
        }
    }

    /// Adds the products of codes with activations.
    ///
    /// With VNNI, partial sums are the sums themselves. Without it, they are sixteen 16-bit sums of
    /// two products each. A pair with codes up to 3 is at most `2 * 3 * 128 = 768` in magnitude,
    /// and 32 of them at most 24576; a pair with codes up to 15 and activations of `Q8_0` is at
    /// most `2 * 15 * 127 = 3810`, and eight of them at most 30480. So nothing ever wraps.
    #[inline(always)]
    pub(super) fn step(self, run: __m256i, codes: __m256i, q: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2, and AVX-VNNI where `VNNI` is set.
        unsafe {
            if VNNI {
                _mm256_dpbusd_avx_epi32(run, codes, q)
            } else {
                add_i16(run, _mm256_maddubs_epi16(codes, q))
            }
        }
    }

    /// `sums` with partial sums added; `sums` are those that they began with.
    #[inline(always)]
    pub(super) fn end_partial(self, sums: __m256i, run: __m256i) -> __m256i {
        if VNNI {
            return run;
        }
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_add_epi32(sums, _mm256_madd_epi16(run, _mm256_set1_epi16(1))) }
    }

    /// Four steps: the codes of byte `j` belong to activations `j`, `j + 32`, `j + 64` and `j +
    /// 96`, from the highest or the lowest bits on. Steps go to the partial sums in rotation, so
    /// that where there are several, none waits for the one before.
    #[inline(always)]
    fn add_group<const C: usize>(
        self,
        bytes: &[u8; GROUP_BYTES],
        q: &[[i8; REGISTER]; 4],
        highest_first: bool,
        mut partial: [__m256i; C],
    ) -> [__m256i; C] {
        // SAFETY: `self` proves AVX2; each load covers the 32 bytes of its array.
        unsafe {
            let mut bytes = _mm256_loadu_si256(bytes.as_ptr().cast());
            for place in 0..4 {
                let q = &q[if highest_first { 3 - place } else { place }];
                let codes = _mm256_and_si256(bytes, _mm256_set1_epi8(3));
                let run = &mut partial[place % C];
                *run = self.step(*run, codes, _mm256_loadu_si256(q.as_ptr().cast()));
                bytes = _mm256_srli_epi16::<2>(bytes);
            }
            partial
        }
    }

    /// [`BlockDot::i2s_tile`] of some rows.
    #[inline(always)]
    fn add_rows<const R: usize, const T: usize>(
        self,
        rows: [&[[u8; GROUP_BYTES]]; R],
        ahead: [Ahead<'_>; R],
        q: [&[[i8; GROUP]]; T],
    ) -> [[i32; R]; T] {
        let groups = rows[0].len();
        let mut sums = [[self.zero(); R]; T];
        for chunk in (0..groups).step_by(PARTIAL_GROUPS) {
            let mut partial = sums;
            for t in 0..T {
                for r in 0..R {
                    partial[t][r] = self.begin_partial(sums[t][r]);
                }
            }
            for i in chunk..groups.min(chunk + PARTIAL_GROUPS) {
                if i % 2 == 0 {
                    for ahead in ahead {
                        ahead.prefetch(self, i * GROUP_BYTES);
                    }
                }
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
                        let q = unsafe { _mm256_loadu_si256(q.add((3 - place) * REGISTER).cast()) };
                        for r in 0..R {
                            partial[t][r] = self.step(partial[t][r], codes[r], q);
                        }
                    }
                }
            }
            for t in 0..T {
                for r in 0..R {
                    sums[t][r] = self.end_partial(sums[t][r], partial[t][r]);
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
    fn q8_0(self, weights: &[u8; q8_0::BLOCK], q: &[i8; Q8_0_BLOCK]) -> [i32; 8] {
        // SAFETY: `self` proves AVX2.
        unsafe { quantized::q8_0(weights, q) }
    }

    #[inline(always)]
    fn group_sums(self, q: &[i8; Q8K_BLOCK]) -> GroupSums {
        // SAFETY: `self` proves AVX2.
        unsafe { quantized::group_sums(q) }
    }

    #[inline(always)]
    fn q4_k_rows(
        self,
        blocks: [&[u8; q4_k::BLOCK_BYTES]; DOT_ROWS],
        q: &[i8; Q8K_BLOCK],
        sums: &GroupSums,
    ) -> WithMinima {
        // SAFETY: `self` proves AVX2.
        unsafe { quantized::q4_k(blocks, q, sums) }
    }

    #[inline(always)]
    fn q5_k_rows(
        self,
        blocks: [&[u8; q5_k::BLOCK_BYTES]; DOT_ROWS],
        q: &[i8; Q8K_BLOCK],
        sums: &GroupSums,
    ) -> WithMinima {
        // SAFETY: `self` proves AVX2.
        unsafe { quantized::q5_k(blocks, q, sums) }
    }

    #[inline(always)]
    fn q6_k(self, block: &[u8; q6_k::BLOCK_BYTES], q: &[i8; Q8K_BLOCK]) -> i32 {
        // SAFETY: `self` proves AVX2.
        unsafe { quantized::q6_k(block, q) }
    }

    #[inline(always)]
    fn i2s_rows<const R: usize>(
        self,
        rows: [&[u8]; R],
        ahead: [Ahead<'_>; R],
        q: &[i8],
    ) -> [i32; R] {
        if !VNNI {
            // Step by step through all rows: where products and not memory take the time, as on
            // Zen 3, what is read next must not wait for the sums of one row.
            let [sums] = self.add_rows(rows.map(|row| row.as_chunks().0), ahead, [q.as_chunks().0]);
            return sums;
        }
        let groups = q.as_chunks::<REGISTER>().0.as_chunks::<4>().0;
        let mut sums = [self.zero(); R];
        // Row after row: each is in a stream of its own.
        for ((row, ahead), sums) in rows.iter().zip(ahead).zip(&mut sums) {
            let partial = row
                .as_chunks::<GROUP_BYTES>()
                .0
                .chunks(PARTIAL_GROUPS)
                .zip(groups.chunks(PARTIAL_GROUPS));
            for (chunk, (bytes, groups)) in partial.enumerate() {
                let mut partial = [self.zero(); 4];
                partial[0] = self.begin_partial(*sums);
                for (i, (bytes, q)) in bytes.iter().zip(groups).enumerate() {
                    ahead.prefetch(self, (chunk * PARTIAL_GROUPS + i) * GROUP_BYTES);
                    partial = self.add_group(bytes, q, true, partial);
                }
                let [mut all, others @ ..] = partial;
                for run in others {
                    // SAFETY: `self` proves AVX2.
                    all = unsafe { _mm256_add_epi32(all, run) };
                }
                *sums = self.end_partial(*sums, all);
            }
        }
        self.totals(sums)
    }

    const BATCH_TOKENS: usize = 16;

    #[inline(always)]
    fn i2s_tile<const T: usize>(
        self,
        [e, f, g, h]: [&[[u8; GROUP_BYTES]]; DOT_ROWS],
        [i, j, k, l]: [Ahead<'_>; DOT_ROWS],
        q: [&[[i8; GROUP]]; T],
    ) -> [[i32; DOT_ROWS]; T] {
        // There are registers for the sums of two rows.
        let first = self.add_rows([e, f], [i, j], q);
        let second = self.add_rows([g, h], [k, l], q);
        let mut totals = [[0; DOT_ROWS]; T];
        for (totals, ([e, f], [g, h])) in totals.iter_mut().zip(first.into_iter().zip(second)) {
            *totals = [e, f, g, h];
        }
        totals
    }

    #[inline(always)]
    fn tq2_0_rows<const R: usize>(self, qs: [&BlockCodes; R], q: &[i8; Q8K_BLOCK]) -> [i32; R] {
        let [q_low, q_high] = &q.as_chunks::<REGISTER>().0.as_chunks::<4>().0 else {
            unreachable!("a block is two groups");
        };
        let mut sums = [self.zero(); R];
        for (sums, qs) in sums.iter_mut().zip(qs) {
            let [low, high] = qs.as_chunks::<GROUP_BYTES>().0 else {
                unreachable!("a block is two groups");
            };
            let run = [self.begin_partial(*sums)];
            let run = self.add_group(low, q_low, false, run);
            let [run] = self.add_group(high, q_high, false, run);
            *sums = self.end_partial(*sums, run);
        }
        self.totals(sums)
    }

    #[inline(always)]
    fn tq1_0_rows<const R: usize>(
        self,
        blocks: [&[u8; tq1_0::BLOCK_BYTES]; R],
        q: &[i8; Q8K_BLOCK],
    ) -> [i32; R] {
        let mut codes: [BlockCodes; R] = [[0; _]; R];
        for (block, codes) in blocks.into_iter().zip(&mut codes) {
            self.repack(block, codes);
        }
        self.tq2_0_rows(codes.each_ref(), q)
    }
}
