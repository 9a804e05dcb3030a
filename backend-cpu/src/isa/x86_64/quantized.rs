//! Dot products of blocks of `Q8_0` and `Q6_K` in 256-bit registers, for every instruction set that
//! has AVX2.

use std::arch::x86_64::*;

use bitnet_kernels::format::{Q8_0_BLOCK, Q8K_BLOCK, q6_k, q8_0};

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
            let first = _mm256_loadu_si256(low[half * 64..half * 64 + 32].as_ptr().cast());
            let second = _mm256_loadu_si256(low[half * 64 + 32..half * 64 + 64].as_ptr().cast());
            let top = _mm256_loadu_si256(high[half * 32..half * 32 + 32].as_ptr().cast());
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
                let at = half * 128 + quarter * 32;
                let q = _mm256_loadu_si256(q[at..at + 32].as_ptr().cast());
                // Weights are codes less 32. A pair of products is at most 2 * 63 * 128 in
                // magnitude.
                let pairs = _mm256_sub_epi16(
                    _mm256_maddubs_epi16(codes, q),
                    _mm256_maddubs_epi16(_mm256_set1_epi8(32), q),
                );
                let scale =
                    |sub: usize| i16::from(scales[half * 8 + quarter * 2 + sub].cast_signed());
                let scales = _mm256_set_m128i(_mm_set1_epi16(scale(1)), _mm_set1_epi16(scale(0)));
                sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, scales));
            }
        }
        let mut lanes = [0_i32; 8];
        _mm256_storeu_si256(lanes.as_mut_ptr().cast(), sums);
        lanes.into_iter().sum()
    }
}
