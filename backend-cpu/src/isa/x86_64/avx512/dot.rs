//! Dot products of blocks in AVX-512: rows as they lie.

use std::arch::x86_64::*;

use bitnet_kernels::format::{Q8_0_BLOCK, Q8K_BLOCK, q4_k, q5_k, q6_k, q8_0, tq1_0};

use super::super::quantized;
use super::token::Avx512;
use crate::microkernel::dot::{Ahead, BlockDot, DOT_ROWS, GroupSums, WithMinima};
use crate::microkernel::gemm::{GROUP, GROUP_BYTES};
use crate::microkernel::trits::{self, BlockCodes};

/// Bytes of a register.
const REGISTER: usize = size_of::<__m512i>();

/// Bits of a byte that hold two of its codes: one in the lower half of a register, the next in the
/// upper half.
const LOW_CODES: i8 = 0b11;
const HIGH_CODES: i8 = 0b11_0000;

impl<const VBMI: bool, const AMX: bool> Avx512<VBMI, AMX> {
    /// Adds the products of a group of 128 codes, as many times too large as the codes stand high
    /// in their bytes.
    ///
    /// Both halves of a register hold the same 32 bytes and take different codes out of them, so
    /// that the activations are read as they lie: those of the two lower codes make one
    /// register, those of the two higher ones the other.
    #[inline(always)]
    fn add_in_place(
        self,
        bytes: &[u8; GROUP_BYTES],
        q: &[[i8; REGISTER]; 2],
        highest_first: bool,
        [low, high]: &mut [__m512i; 2],
    ) {
        // SAFETY: `self` proves AVX-512 with VNNI; each load covers its array.
        unsafe {
            let bytes = _mm512_broadcast_i64x4(_mm256_loadu_si256(bytes.as_ptr().cast()));
            let q = q.each_ref().map(|q| _mm512_loadu_si512(q.as_ptr().cast()));
            let halves = |lower: i8, upper: i8| {
                let upper = _mm512_set1_epi8(upper);
                _mm512_mask_set1_epi8(upper, 0xffff_ffff, lower)
            };
            let next = |codes: i8| codes << 2;
            let (low_codes, high_codes, low_q, high_q) = if highest_first {
                let low = halves(next(LOW_CODES), LOW_CODES);
                (low, halves(next(HIGH_CODES), HIGH_CODES), q[1], q[0])
            } else {
                let low = halves(LOW_CODES, next(LOW_CODES));
                (low, halves(HIGH_CODES, next(HIGH_CODES)), q[0], q[1])
            };
            *low = _mm512_dpbusd_epi32(*low, _mm512_and_si512(bytes, low_codes), low_q);
            *high = _mm512_dpbusd_epi32(*high, _mm512_and_si512(bytes, high_codes), high_q);
        }
    }

    /// The codes of a group of `I2_S`, those for its second 64 activations and those for its first.
    /// The lower half of either is four times too large.
    #[inline(always)]
    fn codes_in_place(self, bytes: &[u8; GROUP_BYTES]) -> [__m512i; 2] {
        // SAFETY: `self` proves AVX-512; the load covers the array.
        unsafe {
            let bytes = _mm512_broadcast_i64x4(_mm256_loadu_si256(bytes.as_ptr().cast()));
            let mask =
                _mm512_mask_set1_epi8(_mm512_set1_epi8(LOW_CODES), 0xffff_ffff, LOW_CODES << 2);
            let high = _mm512_srli_epi16::<4>(bytes);
            [_mm512_and_si512(bytes, mask), _mm512_and_si512(high, mask)]
        }
    }

    /// Takes the places of the codes out of account.
    #[inline(always)]
    fn placed(self, [low, high]: [__m512i; 2], highest_first: bool) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            // Sums are multiples of the place of their codes, so nothing is shifted out.
            let sums = _mm512_add_epi32(low, _mm512_srai_epi32::<4>(high));
            let halves = if highest_first { 0x00ff } else { 0xff00 };
            _mm512_mask_srai_epi32::<2>(sums, halves, sums)
        }
    }

    /// The sum of the lanes of each register.
    #[inline(always)]
    pub(super) fn totals<const R: usize>(self, sums: [__m512i; R]) -> [i32; R] {
        let mut totals = [0; R];
        self.add_lanes(&sums, &mut totals);
        totals
    }

    /// As [`Self::totals`], for however many registers.
    #[inline(always)]
    pub(super) fn add_lanes(self, sums: &[__m512i], totals: &mut [i32]) {
        let (fours, rest) = totals.as_chunks_mut::<4>();
        let (sum_fours, sum_rest) = sums.as_chunks::<4>();
        for (totals, [a, b, c, d]) in fours.iter_mut().zip(sum_fours) {
            // SAFETY: `self` proves AVX-512; the store covers the four integers.
            unsafe {
                // Folds the lanes of two registers into every other lane, twice, then the quarters
                // of the register.
                let ab =
                    _mm512_add_epi32(_mm512_unpacklo_epi32(*a, *b), _mm512_unpackhi_epi32(*a, *b));
                let cd =
                    _mm512_add_epi32(_mm512_unpacklo_epi32(*c, *d), _mm512_unpackhi_epi32(*c, *d));
                let all =
                    _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
                let high = _mm512_extracti64x4_epi64::<1>(all);
                let half = _mm256_add_epi32(_mm512_castsi512_si256(all), high);
                let high = _mm256_extracti128_si256::<1>(half);
                let quarter = _mm_add_epi32(_mm256_castsi256_si128(half), high);
                _mm_storeu_si128(totals.as_mut_ptr().cast(), quarter);
            }
        }
        for (total, sums) in rest.iter_mut().zip(sum_rest) {
            // SAFETY: `self` proves AVX-512.
            *total = unsafe { _mm512_reduce_add_epi32(*sums) };
        }
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_setzero_si512() }
    }
}

impl<const VBMI: bool, const AMX: bool> BlockDot for Avx512<VBMI, AMX> {
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
    fn q6_k_rows(
        self,
        blocks: [&[u8; q6_k::BLOCK_BYTES]; DOT_ROWS],
        q: &[i8; Q8K_BLOCK],
    ) -> [i32; DOT_ROWS] {
        let mut sums = [self.zero(); DOT_ROWS];
        // SAFETY: `self` proves AVX-512 with VNNI; every load lies within the slice it is from.
        unsafe {
            let zero = _mm512_set1_epi8(q6_k::ZERO);
            let (mut activations, mut zeros) = ([zero; 4], [zero; 4]);
            for (i, q) in q.as_chunks::<REGISTER>().0.iter().enumerate() {
                activations[i] = _mm512_loadu_si512(q.as_ptr().cast());
                zeros[i] = _mm512_maddubs_epi16(zero, activations[i]);
            }
            // By how much the high bits of either half of a register are shifted.
            let halves =
                |lower, upper| _mm512_mask_set1_epi16(_mm512_set1_epi16(upper), 0x0000_ffff, lower);
            let (up, down) = (halves(4, 2), halves(0, 2));
            let (nibble, top) = (_mm512_set1_epi8(15), _mm512_set1_epi8(0x30));
            let lane = |i: i64| i * 0x0001_0001_0001_0001;
            let [a, b, c, d] = [lane(0), lane(1), lane(2), lane(3)];
            let lanes = _mm512_set_epi64(d, d, c, c, b, b, a, a);
            for (block, sum) in blocks.into_iter().zip(&mut sums) {
                let scales = _mm_loadu_si128(block[q6_k::SCALES].as_ptr().cast());
                let scales = _mm512_castsi256_si512(_mm256_cvtepi8_epi16(scales));
                let low = block[q6_k::QL].as_chunks::<REGISTER>().0;
                let high = block[q6_k::QH].as_chunks::<{ q6_k::QUARTER }>().0;
                for (half, (low, high)) in low.iter().zip(high).enumerate() {
                    let low = _mm512_loadu_si512(low.as_ptr().cast());
                    let high = _mm512_broadcast_i64x4(_mm256_loadu_si256(high.as_ptr().cast()));
                    let codes = [
                        _mm512_or_si512(
                            _mm512_and_si512(low, nibble),
                            _mm512_and_si512(_mm512_sllv_epi16(high, up), top),
                        ),
                        _mm512_or_si512(
                            _mm512_and_si512(_mm512_srli_epi16::<4>(low), nibble),
                            _mm512_and_si512(_mm512_srlv_epi16(high, down), top),
                        ),
                    ];
                    for (i, codes) in codes.into_iter().enumerate() {
                        let i = 2 * half + i;
                        // A pair of products is at most 2 * 63 * 128 in magnitude.
                        let pairs = _mm512_maddubs_epi16(codes, activations[i]);
                        let pairs = _mm512_sub_epi16(pairs, zeros[i]);
                        let places = _mm512_add_epi16(lanes, _mm512_set1_epi16(4 * i as i16));
                        let scales = _mm512_permutexvar_epi16(places, scales);
                        *sum = _mm512_dpwssd_epi32(*sum, pairs, scales);
                    }
                }
            }
        }
        self.totals(sums)
    }

    #[inline(always)]
    fn i2s_rows<const R: usize>(
        self,
        rows: [&[u8]; R],
        ahead: [Ahead<'_>; R],
        q: &[i8],
    ) -> [i32; R] {
        let groups = q.as_chunks::<REGISTER>().0.as_chunks::<2>().0;
        let mut placed = [self.zero(); R];
        // Row after row: each is in a stream of its own.
        for ((row, ahead), placed) in rows.iter().zip(ahead).zip(&mut placed) {
            let mut sums = [self.zero(); 2];
            for (i, (bytes, q)) in row
                .as_chunks::<GROUP_BYTES>()
                .0
                .iter()
                .zip(groups)
                .enumerate()
            {
                if i % 2 == 0 {
                    ahead.prefetch(self, i * GROUP_BYTES);
                }
                self.add_in_place(bytes, q, true, &mut sums);
            }
            *placed = self.placed(sums, true);
        }
        self.totals(placed)
    }

    const BATCH_TOKENS: usize = if AMX { 16 } else { 32 };

    const TILE_TOKENS: usize = 6;

    #[inline(always)]
    fn i2s_tile<const T: usize>(
        self,
        rows: [&[[u8; GROUP_BYTES]]; DOT_ROWS],
        ahead: [Ahead<'_>; DOT_ROWS],
        q: [&[[i8; GROUP]]; T],
    ) -> [[i32; DOT_ROWS]; T] {
        let mut sums = [[self.zero(); DOT_ROWS]; T];
        for i in 0..rows[0].len() {
            if i % 2 == 0 {
                for ahead in ahead {
                    ahead.prefetch(self, i * GROUP_BYTES);
                }
            }
            let mut codes = [[self.zero(); 2]; DOT_ROWS];
            for (codes, row) in codes.iter_mut().zip(rows) {
                *codes = self.codes_in_place(&row[i]);
            }
            for (sums, q) in sums.iter_mut().zip(q) {
                // SAFETY: `self` proves AVX-512 with VNNI; each load covers a half of the array.
                unsafe {
                    let high_q = q[i].as_ptr();
                    let low_q = _mm512_loadu_si512(high_q.add(REGISTER).cast());
                    let high_q = _mm512_loadu_si512(high_q.cast());
                    for (sum, [low, high]) in sums.iter_mut().zip(codes) {
                        *sum = _mm512_dpbusd_epi32(*sum, low, low_q);
                        *sum = _mm512_dpbusd_epi32(*sum, high, high_q);
                    }
                }
            }
        }
        let mut totals = [[0; DOT_ROWS]; T];
        for (totals, sums) in totals.iter_mut().zip(&mut sums) {
            for sum in &mut *sums {
                // SAFETY: `self` proves AVX-512. The lower half is four times too large.
                *sum = unsafe { _mm512_mask_srai_epi32::<2>(*sum, 0x00ff, *sum) };
            }
            *totals = self.totals(*sums);
        }
        totals
    }

    #[inline(always)]
    fn tq2_0_rows<const R: usize>(self, qs: [&BlockCodes; R], q: &[i8; Q8K_BLOCK]) -> [i32; R] {
        let groups = q.as_chunks::<REGISTER>().0.as_chunks::<2>().0;
        let mut placed = [self.zero(); R];
        for (qs, placed) in qs.into_iter().zip(&mut placed) {
            let mut sums = [self.zero(); 2];
            for (bytes, q) in qs.as_chunks::<GROUP_BYTES>().0.iter().zip(groups) {
                self.add_in_place(bytes, q, false, &mut sums);
            }
            *placed = self.placed(sums, false);
        }
        self.totals(placed)
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

    #[inline(always)]
    fn repack(self, block: &[u8; tq1_0::BLOCK_BYTES], codes: &mut BlockCodes) {
        if VBMI {
            self.repack_by_table(block, codes);
        } else {
            trits::repack(block, codes);
        }
    }
}
