//! Products of the screen's codes, over [`ByteDot`].

use std::arch::aarch64::*;

use super::byte_dot::{Aarch64, ByteDot};
use crate::microkernel::screen::{Block, Planes, RUN, ScreenDot};

/// The codes of bytes `at .. at + 16` of each run of a block.
#[inline]
#[target_feature(enable = "neon")]
fn six_bits(block: &Block, at: usize) -> [int8x16_t; 4] {
    let load = |bytes: &[u8], at: usize| {
        let bytes = &bytes[at..at + 16];
        // SAFETY: the load covers the 16 bytes.
        unsafe { vld1q_u8(bytes.as_ptr()) }
    };
    let (first, second) = (load(&block.low, at), load(&block.low, RUN + at));
    let high = load(&block.high, at);
    let low = vdupq_n_u8(15);
    let two = vdupq_n_u8(0x30);
    let code =
        |low: uint8x16_t, high: uint8x16_t| vreinterpretq_s8_u8(vorrq_u8(low, vandq_u8(high, two)));
    [
        code(vandq_u8(first, low), vshlq_n_u8::<4>(high)),
        code(vshrq_n_u8::<4>(first), vshlq_n_u8::<2>(high)),
        code(vandq_u8(second, low), high),
        code(vshrq_n_u8::<4>(second), vshrq_n_u8::<2>(high)),
    ]
}

impl<D: ByteDot> ScreenDot for Aarch64<D> {
    #[inline(always)]
    fn screen<const R: usize, const T: usize>(
        self,
        rows: [&[Block]; R],
        tokens: [&[Planes]; T],
    ) -> [[[i32; 2]; T]; R] {
        // SAFETY: `self` proves NEON; every load covers the sixteen bytes of the slice that it is
        // from.
        unsafe {
            let mut sums = [[[vdupq_n_s32(0); 2]; T]; R];
            for i in 0..rows.first().map_or(0, |row| row.len()) {
                for (row, sums) in rows.iter().zip(&mut sums) {
                    for at in (0..RUN).step_by(16) {
                        let codes = six_bits(&row[i], at);
                        for (sums, token) in sums.iter_mut().zip(tokens) {
                            for (codes, q) in codes.iter().zip(&token[i].0) {
                                for (sum, q) in sums.iter_mut().zip(q) {
                                    let q = vld1q_s8(q[at..at + 16].as_ptr());
                                    *sum = self.0.dot(*sum, *codes, q);
                                }
                            }
                        }
                    }
                }
            }
            sums.map(|sums| sums.map(|pair| pair.map(|sum| vaddvq_s32(sum))))
        }
    }
}
