//! The microkernel of the gemm, over [`ByteDot`]: four registers of four rows by four bytes.

use std::arch::aarch64::*;

use bitnet_kernels::order::LANES;

use super::byte_dot::{Aarch64, ByteDot};
use crate::microkernel::gemm::{
    GROUP_BYTES, GROUP_STEPS, Microkernel, PackedGroup, PackedWord, TernaryLayout, TileArgs,
};

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

    #[inline(always)]
    fn transpose(self, rows: [&[u8; GROUP_BYTES]; LANES], words: &mut PackedGroup) {
        for (quarter, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
            for half in 0..2 {
                // SAFETY: `self` proves NEON; a load covers 16 of a row's 32 bytes, a store 16 of a
                // word's 64.
                unsafe {
                    let mut registers = [vdupq_n_u32(0); 4];
                    for (register, row) in registers.iter_mut().zip(rows) {
                        *register = vreinterpretq_u32_u8(vld1q_u8(row.as_ptr().add(16 * half)));
                    }
                    for (i, register) in transposed(registers).into_iter().enumerate() {
                        let word = words[4 * half + i].0.as_flattened_mut();
                        let at = word.as_mut_ptr().add(16 * quarter);
                        vst1q_u8(at, vreinterpretq_u8_u32(register));
                    }
                }
            }
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
    fn low_codes(self, [a, b, c, d]: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves NEON.
        unsafe {
            let mask = vdupq_n_u8(3);
            [
                vandq_u8(a, mask),
                vandq_u8(b, mask),
                vandq_u8(c, mask),
                vandq_u8(d, mask),
            ]
        }
    }

    #[inline(always)]
    fn shift_codes(self, [a, b, c, d]: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves NEON.
        unsafe {
            [
                vshrq_n_u8::<2>(a),
                vshrq_n_u8::<2>(b),
                vshrq_n_u8::<2>(c),
                vshrq_n_u8::<2>(d),
            ]
        }
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
