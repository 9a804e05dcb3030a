//! The microkernel of the gemm, over [`ByteDot`]: four registers of four rows by four bytes.

use std::arch::aarch64::*;

use bitnet_kernels::order::LANES;

use super::byte_dot::{Aarch64, ByteDot};
use crate::microkernel::coded::{CodeLayout, Order, PIECE, RUN_WORDS};
use crate::microkernel::gemm::{
    GROUP_STEPS, Microkernel, PackedGroup, PackedWord, TernaryLayout, TileArgs,
};
use crate::microkernel::runs::RUN_BYTES;

/// Four rows of sixteen bytes: the `i`th register of the result has bytes `4i .. 4i + 4` of each.
#[inline]
#[target_feature(enable = "neon")]
fn transposed([a, b, c, d]: [uint32x4_t; 4]) -> [uint32x4_t; 4] {
    let (even, odd) = (vtrn1q_u32, vtrn2q_u32);
    let low = |x, y| vreinterpretq_u32_u64(vtrn1q_u64(x, y));
    let high = |x, y| vreinterpretq_u32_u64(vtrn2q_u64(x, y));
    let wide = |x| vreinterpretq_u64_u32(x);
    let (ab, cd) = (wide(even(a, b)), wide(even(c, d)));
    let (ab_odd, cd_odd) = (wide(odd(a, b)), wide(odd(c, d)));
    [
        low(ab, cd),
        low(ab_odd, cd_odd),
        high(ab, cd),
        high(ab_odd, cd_odd),
    ]
}

impl<D: ByteDot> Microkernel for Aarch64<D> {
    type Bytes = [uint8x16_t; 4];
    type Broadcast = int8x16_t;
    type Acc = [int32x4_t; 4];
    type GroupAcc = [D::GroupAcc; 4];

    const STRIPS: usize = 1;
    const NR: usize = D::NR;

    #[inline(always)]
    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>) {
        self.0.tile::<F>(args);
    }

    const CODED_STRIPS: usize = 1;
    const CODED_TOKENS: usize = D::CODED_TOKENS;

    #[inline(always)]
    fn coded_tile<F: CodeLayout<BITS>, const BITS: usize>(self, args: TileArgs<'_>) {
        self.0.coded_tile::<F, BITS>(args);
    }

    #[inline(always)]
    fn reorder(self, from: &[i8; PIECE], order: &Order, to: &mut [i8; PIECE]) {
        // SAFETY: `self` proves NEON; the loads and stores lie within their arrays.
        unsafe {
            let (from, order, to) = (from.as_ptr(), order.as_ptr(), to.as_mut_ptr());
            let both = int8x16x2_t(vld1q_s8(from), vld1q_s8(from.add(16)));
            vst1q_s8(to, vqtbl2q_s8(both, vld1q_u8(order)));
            vst1q_s8(to.add(16), vqtbl2q_s8(both, vld1q_u8(order.add(16))));
        }
    }

    #[inline(always)]
    fn transpose(self, rows: [&[u8; RUN_BYTES]; LANES]) -> [Self::Bytes; RUN_WORDS] {
        // SAFETY: `self` proves NEON; each load covers a row's bytes.
        unsafe {
            let mut words = [[vdupq_n_u8(0); 4]; RUN_WORDS];
            for (quarter, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
                let mut registers = [vdupq_n_u32(0); 4];
                for (register, row) in registers.iter_mut().zip(rows) {
                    *register = vreinterpretq_u32_u8(vld1q_u8(row.as_ptr()));
                }
                for (word, register) in words.iter_mut().zip(transposed(registers)) {
                    word[quarter] = vreinterpretq_u8_u32(register);
                }
            }
            words
        }
    }

    #[inline(always)]
    fn store_bytes(self, bytes: Self::Bytes, word: &mut PackedWord) {
        let at = word.0.as_flattened_mut().as_mut_ptr();
        for (i, bytes) in bytes.into_iter().enumerate() {
            // SAFETY: `self` proves NEON; the four stores lie within the 64 bytes.
            unsafe { vst1q_u8(at.add(16 * i), bytes) };
        }
    }

    #[inline(always)]
    fn load_bytes(self, word: &PackedWord) -> Self::Bytes {
        let at = word.0.as_ptr().cast::<u8>();
        // SAFETY: `self` proves NEON; the four loads lie within the 64 bytes.
        unsafe {
            [
                vld1q_u8(at),
                vld1q_u8(at.add(16)),
                vld1q_u8(at.add(32)),
                vld1q_u8(at.add(48)),
            ]
        }
    }

    #[inline(always)]
    fn low_codes<const BITS: usize>(self, [a, b, c, d]: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves NEON.
        unsafe {
            let mask = vdupq_n_u8((1 << BITS) - 1);
            [
                vandq_u8(a, mask),
                vandq_u8(b, mask),
                vandq_u8(c, mask),
                vandq_u8(d, mask),
            ]
        }
    }

    #[inline(always)]
    fn shift_codes<const BITS: usize>(self, mut bytes: Self::Bytes) -> Self::Bytes {
        for bytes in &mut bytes {
            // SAFETY: `self` proves NEON.
            *bytes = unsafe {
                match BITS {
                    1 => vshrq_n_u8::<1>(*bytes),
                    2 => vshrq_n_u8::<2>(*bytes),
                    _ => vshrq_n_u8::<4>(*bytes),
                }
            };
        }
        bytes
    }

    #[inline(always)]
    fn broadcast(self, q: &[i8; 4]) -> Self::Broadcast {
        // SAFETY: `self` proves NEON.
        unsafe { vreinterpretq_s8_s32(vdupq_n_s32(i32::from_ne_bytes(q.map(i8::cast_unsigned)))) }
    }

    #[inline(always)]
    fn add_group<F: TernaryLayout, const S: usize, const T: usize>(
        self,
        words: &[PackedGroup; S],
        q: [&[[i8; 4]; GROUP_STEPS]; T],
        sums: &mut [[Self::Acc; S]; T],
    ) {
        self.0.add_group::<F, S, T>(words, q, sums);
    }

    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::Acc {
        // SAFETY: `self` proves NEON.
        unsafe { [vdupq_n_s32(x); 4] }
    }

    #[inline(always)]
    fn begin_group(self, [a, b, c, d]: Self::Acc) -> Self::GroupAcc {
        let dot = self.0;
        [
            dot.begin_group(a),
            dot.begin_group(b),
            dot.begin_group(c),
            dot.begin_group(d),
        ]
    }

    #[inline(always)]
    fn multiply_add(
        self,
        mut run: Self::GroupAcc,
        codes: Self::Bytes,
        q: Self::Broadcast,
    ) -> Self::GroupAcc {
        for (run, codes) in run.iter_mut().zip(codes) {
            // SAFETY: `self` proves NEON.
            *run = self.0.add(*run, unsafe { vreinterpretq_s8_u8(codes) }, q);
        }
        run
    }

    #[inline(always)]
    fn end_group(self, mut sums: Self::Acc, run: Self::GroupAcc) -> Self::Acc {
        for (sums, run) in sums.iter_mut().zip(run) {
            *sums = self.0.end_group(*sums, run);
        }
        sums
    }

    #[inline(always)]
    fn to_f32(self, [a, b, c, d]: Self::Acc) -> Self::F {
        // SAFETY: `self` proves NEON.
        unsafe {
            [
                vcvtq_f32_s32(a),
                vcvtq_f32_s32(b),
                vcvtq_f32_s32(c),
                vcvtq_f32_s32(d),
            ]
        }
    }
}
