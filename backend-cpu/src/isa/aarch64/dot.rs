//! Dot products of blocks, over [`ByteDot`].

use std::arch::aarch64::*;

use bitnet_kernels::format::k_groups::GROUP as K_GROUP;
use bitnet_kernels::format::{Q8_0_BLOCK, Q8K_BLOCK, q4_k, q5_k, q6_k, q8_0, tq1_0};

use super::byte_dot::{Aarch64, ByteDot};
use crate::microkernel::dot::{
    Ahead, BlockDot, DOT_ROWS, GroupSums, WithMinima, groups, minima_dot,
};
use crate::microkernel::gemm::{GROUP, GROUP_BYTES};
use crate::microkernel::trits::BlockCodes;

/// Registers of bytes, from a slice that has at least as many.
#[inline]
#[target_feature(enable = "neon")]
fn load<const N: usize>(bytes: &[u8]) -> [uint8x16_t; N] {
    let (chunks, _) = bytes.as_chunks::<16>();
    // SAFETY: the load covers the 16 bytes.
    std::array::from_fn(|i| unsafe { vld1q_u8(chunks[i].as_ptr()) })
}

/// Registers of signed bytes, from a slice that has at least as many.
#[inline]
#[target_feature(enable = "neon")]
fn load_signed<const N: usize>(bytes: &[i8]) -> [int8x16_t; N] {
    let (chunks, _) = bytes.as_chunks::<16>();
    // SAFETY: the load covers the 16 bytes.
    std::array::from_fn(|i| unsafe { vld1q_s8(chunks[i].as_ptr()) })
}

/// The two bits of each byte from bit `2 * place` on.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn two_bits(bytes: uint8x16_t, place: usize) -> uint8x16_t {
    let mask = vdupq_n_u8(3);
    match place {
        0 => vandq_u8(bytes, mask),
        1 => vandq_u8(vshrq_n_u8::<2>(bytes), mask),
        2 => vandq_u8(vshrq_n_u8::<4>(bytes), mask),
        _ => vshrq_n_u8::<6>(bytes),
    }
}

/// The codes of 32 bytes, those of the lowest bits first.
#[inline]
#[target_feature(enable = "neon")]
fn unpacked(bytes: &[u8; GROUP_BYTES]) -> [int8x16_t; 8] {
    let halves = load::<2>(bytes);
    std::array::from_fn(|i| vreinterpretq_s8_u8(two_bits(halves[i % 2], i / 2)))
}

/// The same, those of the highest bits first.
#[inline]
#[target_feature(enable = "neon")]
fn unpacked_downwards(bytes: &[u8; GROUP_BYTES]) -> [int8x16_t; 8] {
    let halves = load::<2>(bytes);
    std::array::from_fn(|i| vreinterpretq_s8_u8(two_bits(halves[i % 2], 3 - i / 2)))
}

/// Powers of three: multiplied by the `n`th, a byte of `TQ1_0` has its `n`th trit on top.
const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// The trit on top of each byte times `power`, as a code 0, 1 or 2.
///
/// The top trit of `x` is `3 x >> 8`, which is `(x + x / 2) >> 7` and fits no ninth bit.
#[inline]
#[target_feature(enable = "neon")]
fn trits(bytes: uint8x16_t, power: u8) -> int8x16_t {
    let x = vmulq_u8(bytes, vdupq_n_u8(power));
    vreinterpretq_s8_u8(vshrq_n_u8::<6>(vhaddq_u8(x, vshrq_n_u8::<1>(x))))
}

/// The codes of a block of `TQ1_0`.
#[inline]
#[target_feature(enable = "neon")]
fn unpacked_tq1_0(block: &[u8; tq1_0::BLOCK_BYTES]) -> [[int8x16_t; 8]; 2] {
    let bytes = load::<3>(block);
    // The last 16 elements lie in four bytes, four to each; their fifth trit is not used.
    let mut last = [0; 16];
    for (power, last) in POWERS.iter().zip(last.as_chunks_mut::<4>().0) {
        *last = std::array::from_fn(|i| block[tq1_0::PART_C.start + i].wrapping_mul(*power));
    }
    let [last] = load::<1>(&last);
    let codes = |i: usize| match i {
        0..10 => trits(bytes[i % 2], POWERS[i / 2]),
        10..15 => trits(bytes[2], POWERS[i - 10]),
        _ => trits(last, 1),
    };
    [
        std::array::from_fn(codes),
        std::array::from_fn(|i| codes(8 + i)),
    ]
}

/// The weights of register `i` of a block of `Q6_K`, over their scales.
#[inline]
#[target_feature(enable = "neon")]
fn weights_q6_k(low: &[uint8x16_t; 8], high: &[uint8x16_t; 4], i: usize) -> int8x16_t {
    let (half, quarter, sub) = (i / 8, i / 2 % 4, i % 2);
    let nibbles = low[half * 4 + quarter % 2 * 2 + sub];
    let nibbles = if quarter < 2 {
        vandq_u8(nibbles, vdupq_n_u8(15))
    } else {
        vshrq_n_u8::<4>(nibbles)
    };
    let top = two_bits(high[half * 2 + sub], quarter);
    let weights = vorrq_u8(nibbles, vshlq_n_u8::<4>(top));
    vsubq_s8(vreinterpretq_s8_u8(weights), vdupq_n_s8(32))
}

/// The low and high halves of 32 bytes.
#[inline]
#[target_feature(enable = "neon")]
fn halves(bytes: &[u8]) -> [[uint8x16_t; 2]; 2] {
    let bytes = load::<2>(bytes);
    let mask = vdupq_n_u8(15);
    [
        bytes.map(|bytes| vandq_u8(bytes, mask)),
        bytes.map(|bytes| vshrq_n_u8::<4>(bytes)),
    ]
}

/// Bit `group` of each byte, as bit 4.
#[inline]
#[target_feature(enable = "neon")]
fn fifth_bit(bytes: uint8x16_t, group: usize) -> uint8x16_t {
    let up = vshlq_u8(bytes, vdupq_n_s8(4 - group as i8));
    vandq_u8(up, vdupq_n_u8(16))
}

impl<D: ByteDot> Aarch64<D> {
    /// Rows of a format with minima: `bytes` are their scales and minima, and `codes(row, pair)`
    /// the codes of two groups of a row.
    ///
    /// # Safety
    /// - The CPU has NEON.
    #[inline(always)]
    unsafe fn with_minima(
        self,
        bytes: [&[u8]; DOT_ROWS],
        q: &[i8; Q8K_BLOCK],
        sums: &GroupSums,
        codes: impl Fn(usize, usize) -> [[uint8x16_t; 2]; 2],
    ) -> WithMinima {
        let mut out = WithMinima {
            values: [0; DOT_ROWS],
            minima: [0; DOT_ROWS],
        };
        // SAFETY: the caller's promise.
        unsafe {
            let q: [int8x16_t; 16] = load_signed(q);
            for row in 0..DOT_ROWS {
                let groups = groups(bytes[row]);
                out.minima[row] = minima_dot(&groups, sums);
                let mut values = vdupq_n_s32(0);
                for pair in 0..4 {
                    for (half, codes) in codes(row, pair).into_iter().enumerate() {
                        let group = 2 * pair + half;
                        let [low, high] = codes.map(|codes| vreinterpretq_s8_u8(codes));
                        let part = self.0.dot(vdupq_n_s32(0), low, q[2 * group]);
                        let part = self.0.dot(part, high, q[2 * group + 1]);
                        values = vmlaq_n_s32(values, part, i32::from(groups.scales[group]));
                    }
                }
                out.values[row] = vaddvq_s32(values);
            }
        }
        out
    }
}

impl<D: ByteDot> BlockDot for Aarch64<D> {
    #[inline(always)]
    fn group_sums(self, q: &[i8; Q8K_BLOCK]) -> GroupSums {
        let mut sums = GroupSums::default();
        for (sum, q) in sums.iter_mut().zip(q.as_chunks::<K_GROUP>().0) {
            // SAFETY: `self` proves NEON.
            unsafe {
                let [low, high] = load_signed(q);
                *sum = vaddlvq_s8(low) + vaddlvq_s8(high);
            }
        }
        sums
    }

    #[inline(always)]
    fn q4_k_rows(
        self,
        blocks: [&[u8; q4_k::BLOCK_BYTES]; DOT_ROWS],
        q: &[i8; Q8K_BLOCK],
        sums: &GroupSums,
    ) -> WithMinima {
        let bytes = blocks.map(|block| &block[q4_k::GROUPS]);
        // SAFETY: `self` proves NEON.
        unsafe {
            self.with_minima(bytes, q, sums, |row, pair| {
                halves(&blocks[row][q4_k::CODES][pair * K_GROUP..])
            })
        }
    }

    #[inline(always)]
    fn q5_k_rows(
        self,
        blocks: [&[u8; q5_k::BLOCK_BYTES]; DOT_ROWS],
        q: &[i8; Q8K_BLOCK],
        sums: &GroupSums,
    ) -> WithMinima {
        let bytes = blocks.map(|block| &block[q5_k::GROUPS]);
        // SAFETY: `self` proves NEON.
        unsafe {
            self.with_minima(bytes, q, sums, |row, pair| {
                let high = load::<2>(&blocks[row][q5_k::QH]);
                let mut codes = halves(&blocks[row][q5_k::QL][pair * K_GROUP..]);
                for (half, codes) in codes.iter_mut().enumerate() {
                    for (codes, high) in codes.iter_mut().zip(high) {
                        *codes = vorrq_u8(*codes, fifth_bit(high, 2 * pair + half));
                    }
                }
                codes
            })
        }
    }

    #[inline(always)]
    fn i2s_rows<const R: usize>(
        self,
        rows: [&[u8]; R],
        ahead: [Ahead<'_>; R],
        q: &[i8],
    ) -> [i32; R] {
        let mut totals = [0; R];
        // SAFETY: `self` proves NEON.
        unsafe {
            let mut sums = [vdupq_n_s32(0); R];
            for (group, q) in q.as_chunks::<GROUP>().0.iter().enumerate() {
                let q = load_signed(q);
                for ((row, ahead), sums) in rows.iter().zip(ahead).zip(&mut sums) {
                    ahead.prefetch(self, group * GROUP_BYTES);
                    let codes = unpacked_downwards(&row.as_chunks().0[group]);
                    *sums = self.0.codes(*sums, codes, q);
                }
            }
            for (total, sums) in totals.iter_mut().zip(sums) {
                *total = vaddvq_s32(sums);
            }
        }
        totals
    }

    #[inline(always)]
    fn tq2_0_rows<const R: usize>(self, qs: [&BlockCodes; R], q: &[i8; Q8K_BLOCK]) -> [i32; R] {
        let mut totals = [0; R];
        // SAFETY: `self` proves NEON.
        unsafe {
            let (q_low, q_high) = (load_signed(q), load_signed(&q[GROUP..]));
            for (total, qs) in totals.iter_mut().zip(qs) {
                let (halves, _) = qs.as_chunks();
                let sums = self.0.codes(vdupq_n_s32(0), unpacked(&halves[0]), q_low);
                *total = vaddvq_s32(self.0.codes(sums, unpacked(&halves[1]), q_high));
            }
        }
        totals
    }

    #[inline(always)]
    fn tq1_0_rows<const R: usize>(
        self,
        blocks: [&[u8; tq1_0::BLOCK_BYTES]; R],
        q: &[i8; Q8K_BLOCK],
    ) -> [i32; R] {
        let mut totals = [0; R];
        // SAFETY: `self` proves NEON.
        unsafe {
            let (q_low, q_high) = (load_signed(q), load_signed(&q[GROUP..]));
            for (total, block) in totals.iter_mut().zip(blocks) {
                let [low, high] = unpacked_tq1_0(block);
                let sums = self.0.codes(vdupq_n_s32(0), low, q_low);
                *total = vaddvq_s32(self.0.codes(sums, high, q_high));
            }
        }
        totals
    }

    #[inline(always)]
    fn q8_0(self, weights: &[u8; q8_0::BLOCK], q: &[i8; Q8_0_BLOCK]) -> [i32; 8] {
        let mut out = [0; 8];
        // SAFETY: `self` proves NEON; the two stores cover eight integers.
        unsafe {
            let (weights, q) = (load::<2>(weights), load_signed::<2>(q));
            for (i, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let weights = vreinterpretq_s8_u8(weights[i]);
                let sums = self.0.dot(vdupq_n_s32(0), weights, q[i]);
                vst1q_s32(out.as_mut_ptr(), sums);
            }
        }
        out
    }

    #[inline(always)]
    fn q6_k(self, block: &[u8; q6_k::BLOCK_BYTES], q: &[i8; Q8K_BLOCK]) -> i32 {
        // SAFETY: `self` proves NEON.
        unsafe {
            let (low, high) = (load(&block[q6_k::QL]), load(&block[q6_k::QH]));
            let q: [int8x16_t; 16] = load_signed(q);
            let mut sums = vdupq_n_s32(0);
            for (i, q) in q.into_iter().enumerate() {
                let scale = i32::from(block[q6_k::SCALES.start + i].cast_signed());
                let weights = weights_q6_k(&low, &high, i);
                let part = self.0.dot(vdupq_n_s32(0), weights, q);
                sums = vmlaq_n_s32(sums, part, scale);
            }
            vaddvq_s32(sums)
        }
    }
}
