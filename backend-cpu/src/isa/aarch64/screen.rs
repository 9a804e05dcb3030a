//! Products of the screen's codes, over [`ByteDot`].

use std::arch::aarch64::*;

use super::byte_dot::{Aarch64, ByteDot};
use crate::microkernel::dot::Ahead;
use crate::microkernel::screen::{CodeLine, Plane, RUN, RUNS, ScreenDot};

/// The codes of bytes `at .. at + 16` of each run of a block.
#[inline]
#[target_feature(enable = "neon")]
fn codes<const LINES: usize>(block: &[CodeLine; LINES], at: usize) -> [int8x16_t; RUNS] {
    let mask = vdupq_n_u8((1 << (2 * LINES)) - 1);
    let mut codes = [vdupq_n_s8(0); RUNS];
    for (runs, line) in codes.chunks_exact_mut(RUNS / LINES).zip(block) {
        let bytes = &line.0[at..at + 16];
        // SAFETY: the load covers the 16 bytes.
        let mut bytes = unsafe { vld1q_u8(bytes.as_ptr()) };
        for run in runs {
            *run = vreinterpretq_s8_u8(vandq_u8(bytes, mask));
            bytes = match LINES {
                1 => vshrq_n_u8::<2>(bytes),
                _ => vshrq_n_u8::<4>(bytes),
            };
        }
    }
    codes
}

impl<D: ByteDot> ScreenDot for Aarch64<D> {
    #[inline(always)]
    fn screen<const LINES: usize, const R: usize, const P: usize>(
        self,
        rows: [&[[CodeLine; LINES]]; R],
        _ahead: [Ahead<'_, [CodeLine; LINES]>; R],
        planes: [&[Plane]; P],
    ) -> [[i32; P]; R] {
        // SAFETY: `self` proves NEON; every load covers the sixteen bytes of the slice that it is
        // from.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); P]; R];
            for i in 0..rows.first().map_or(0, |row| row.len()) {
                for (row, sums) in rows.iter().zip(&mut sums) {
                    for at in (0..RUN).step_by(16) {
                        let codes = codes(&row[i], at);
                        for (sum, plane) in sums.iter_mut().zip(planes) {
                            for (codes, q) in codes.iter().zip(&plane[i].0) {
                                let q = vld1q_s8(q[at..at + 16].as_ptr());
                                *sum = self.0.dot(*sum, *codes, q);
                            }
                        }
                    }
                }
            }
            sums.map(|sums| sums.map(|sum| vaddvq_s32(sum)))
        }
    }
}
