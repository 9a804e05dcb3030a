//! Dot products of blocks of `Q8_0`, `Q4_K`, `Q5_K` and `Q6_K` in 256-bit registers, for every
//! instruction set that has AVX2.

use std::arch::x86_64::*;

use bitnet_kernels::format::k_groups::GROUP;
use bitnet_kernels::format::{Q8_0_BLOCK, Q8K_BLOCK, q4_k, q5_k, q6_k, q8_0};

use crate::microkernel::dot::{DOT_ROWS, GroupSums, WithMinima, groups};

/// Eight sums of four adjacent products each. Activations are at least -127, as the encoder makes
/// them.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn q8_0(weights: &[u8; q8_0::BLOCK], q: &[i8; Q8_0_BLOCK]) -> [i32; 8] {
    let mut sums = [0; 8];
    // SAFETY: the caller's promise; loads and the store cover their arrays.
    unsafe {
        let weights = _mm256_loadu_si256(weights.as_ptr().cast());
        let q = _mm256_loadu_si256(q.as_ptr().cast());
        // Magnitudes with the sign moved to the activation: a pair of products is at most 2 * 128 *
        // 127, which 16 bits hold.
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(q, weights));
        let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
        _mm256_storeu_si256(sums.as_mut_ptr().cast(), fours);
    }
    sums
}

/// The `i`th part of [`q6_k::QUARTER`] bytes.
#[inline(always)]
fn quarter_of(bytes: &[u8], i: usize) -> &[u8] {
    &bytes[i * q6_k::QUARTER..(i + 1) * q6_k::QUARTER]
}

/// A block of `Q6_K`, its 8-bit sub-scales applied, its scale left out of account.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn q6_k(block: &[u8; q6_k::BLOCK_BYTES], q: &[i8; Q8K_BLOCK]) -> i32 {
    let (low, high, scales) = (&block[q6_k::QL], &block[q6_k::QH], &block[q6_k::SCALES]);
    // SAFETY: the caller's promise; every load lies within the slice that it is from, and the store
    // covers its array.
    unsafe {
        let mut sums = _mm256_setzero_si256();
        for half in 0..2 {
            let first = _mm256_loadu_si256(quarter_of(low, 2 * half).as_ptr().cast());
            let second = _mm256_loadu_si256(quarter_of(low, 2 * half + 1).as_ptr().cast());
            let top = _mm256_loadu_si256(quarter_of(high, half).as_ptr().cast());
            let nibbles = [
                first,
                second,
                _mm256_srli_epi16::<4>(first),
                _mm256_srli_epi16::<4>(second),
            ];
            let tops = [
                _mm256_slli_epi16::<4>(top),
                _mm256_slli_epi16::<2>(top),
                top,
                _mm256_srli_epi16::<2>(top),
            ];
            for quarter in 0..4 {
                let codes = _mm256_or_si256(
                    _mm256_and_si256(nibbles[quarter], _mm256_set1_epi8(15)),
                    _mm256_and_si256(tops[quarter], _mm256_set1_epi8(0x30)),
                );
                let at = (4 * half + quarter) * q6_k::QUARTER;
                let q = _mm256_loadu_si256(q[at..at + q6_k::QUARTER].as_ptr().cast());
                // Weights are codes less that of 0. A pair of products is at most 2 * 63 * 128 in
                // magnitude.
                let pairs = _mm256_sub_epi16(
                    _mm256_maddubs_epi16(codes, q),
                    _mm256_maddubs_epi16(_mm256_set1_epi8(q6_k::ZERO), q),
                );
                let scale =
                    |sub: usize| i16::from(scales[(4 * half + quarter) * 2 + sub].cast_signed());
                let scales = _mm256_set_m128i(_mm_set1_epi16(scale(1)), _mm_set1_epi16(scale(0)));
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, scales));
            }
        }
        let mut lanes = [0_i32; 8];
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums);
        lanes.into_iter().sum()
    }
}

/// The sums of the activations of each group of a block.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn group_sums(q: &[i8; Q8K_BLOCK]) -> GroupSums {
    let mut sums = GroupSums::default();
    // SAFETY: the caller's promise; the loads cover their groups, the store its array.
    unsafe {
        let mut fours = [_mm256_setzero_si256(); 8];
        for (fours, q) in fours.iter_mut().zip(q.as_chunks::<GROUP>().0) {
            let q = _mm256_loadu_si256(q.as_ptr().cast());
            let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), q);
            *fours = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
        }
        let low = totals([fours[0], fours[1], fours[2], fours[3]]);
        let high = totals([fours[4], fours[5], fours[6], fours[7]]);
        _mm_storeu_si128(sums.as_mut_ptr().cast(), _mm_packs_epi32(low, high));
    }
    sums
}

/// The sum of the lanes of each register.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn totals([a, b, c, d]: [__m256i; 4]) -> __m128i {
    // SAFETY: the caller's promise.
    unsafe {
        let all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
        _mm_add_epi32(
            _mm256_castsi256_si128(all),
            _mm256_extracti128_si256::<1>(all),
        )
    }
}

/// Rows of a format with minima: `bytes` are their scales and minima, and `codes(row, pair)` the
/// codes of two groups of a row, below 32.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn with_minima(
    bytes: [&[u8]; DOT_ROWS],
    q: &[i8; Q8K_BLOCK],
    sums: &GroupSums,
    codes: impl Fn(usize, usize) -> [__m256i; 2],
) -> WithMinima {
    let mut out = WithMinima {
        values: [0; DOT_ROWS],
        minima: [0; DOT_ROWS],
    };
    // SAFETY: the caller's promise; the loads and stores cover their arrays.
    unsafe {
        let mut values = [_mm256_setzero_si256(); DOT_ROWS];
        let mut minima = [_mm_setzero_si128(); DOT_ROWS];
        let group_sums = _mm_loadu_si128(sums.as_ptr().cast());
        for row in 0..DOT_ROWS {
            let groups = groups(bytes[row]);
            let widened =
                |bytes: &[u8; 8]| _mm_cvtepu8_epi16(_mm_loadl_epi64(bytes.as_ptr().cast()));
            minima[row] = _mm_madd_epi16(widened(&groups.minima), group_sums);
            let scales = _mm256_broadcastsi128_si256(widened(&groups.scales));
            for pair in 0..4 {
                let codes = codes(row, pair);
                for (half, codes) in codes.into_iter().enumerate() {
                    let group = 2 * pair + half;
                    let q = q.as_ptr().add(group * GROUP);
                    // A pair of products is at most 2 * 31 * 128 in magnitude, and two pairs times
                    // a scale below 64 fit 32 bits.
                    let pairs = _mm256_maddubs_epi16(codes, _mm256_loadu_si256(q.cast()));
                    let place = (2 * group) as i16;
                    let place = _mm256_set1_epi16(place | (place + 1) << 8);
                    let scale = _mm256_shuffle_epi8(scales, place);
                    let fours = _mm256_madd_epi16(pairs, scale);
                    values[row] = _mm256_add_epi32(values[row], fours);
                }
            }
        }
        _mm_storeu_si128(out.values.as_mut_ptr().cast(), totals(values));
        let [a, b, c, d] = minima;
        let all = _mm_hadd_epi32(_mm_hadd_epi32(a, b), _mm_hadd_epi32(c, d));
        _mm_storeu_si128(out.minima.as_mut_ptr().cast(), all);
    }
    out
}

/// The low and high halves of 32 bytes.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
unsafe fn halves(bytes: &[u8; GROUP]) -> [__m256i; 2] {
    // SAFETY: the caller's promise; the load covers the array.
    unsafe {
        let bytes = _mm256_loadu_si256(bytes.as_ptr().cast());
        let mask = _mm256_set1_epi8(15);
        let high = _mm256_srli_epi16::<4>(bytes);
        [_mm256_and_si256(bytes, mask), _mm256_and_si256(high, mask)]
    }
}

/// A block of `Q4_K` of adjacent rows.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn q4_k(
    blocks: [&[u8; q4_k::BLOCK_BYTES]; DOT_ROWS],
    q: &[i8; Q8K_BLOCK],
    sums: &GroupSums,
) -> WithMinima {
    let bytes = blocks.map(|block| &block[q4_k::GROUPS]);
    // SAFETY: the caller's promise.
    unsafe {
        with_minima(bytes, q, sums, |row, pair| {
            halves(&blocks[row][q4_k::CODES].as_chunks().0[pair])
        })
    }
}

/// A block of `Q5_K` of adjacent rows.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn q5_k(
    blocks: [&[u8; q5_k::BLOCK_BYTES]; DOT_ROWS],
    q: &[i8; Q8K_BLOCK],
    sums: &GroupSums,
) -> WithMinima {
    let bytes = blocks.map(|block| &block[q5_k::GROUPS]);
    // SAFETY: the caller's promise; the load covers the highest bits.
    unsafe {
        with_minima(bytes, q, sums, |row, pair| {
            let high = _mm256_loadu_si256(blocks[row][q5_k::QH].as_ptr().cast());
            // Bits of other bytes that come along are masked.
            let high = _mm256_srl_epi16(high, _mm_cvtsi32_si128(2 * pair as i32));
            let mask = _mm256_set1_epi8(16);
            let [first, second] = halves(&blocks[row][q5_k::QL].as_chunks().0[pair]);
            [
                _mm256_or_si256(first, _mm256_and_si256(_mm256_slli_epi16::<4>(high), mask)),
                _mm256_or_si256(second, _mm256_and_si256(_mm256_slli_epi16::<3>(high), mask)),
            ]
        })
    }
}
