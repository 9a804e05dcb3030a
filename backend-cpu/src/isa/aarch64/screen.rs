//! Products of the screen's codes, over [`ByteDot`].

use std::arch::aarch64::*;

use super::byte_dot::{Aarch64, ByteDot};
use crate::microkernel::screen::{CodeLine, Codes, CodesAhead, Plane, RUN, RUNS, ScreenDot};

/// The codes of bytes `at .. at + 16` of each run of a block.
#[inline]
#[target_feature(enable = "neon")]
fn codes<const ALL: bool>(row: Codes<'_>, block: usize, at: usize) -> [int8x16_t; RUNS] {
    let bytes = |line: &CodeLine| {
        let bytes = &line.0[at..at + 16];
        // SAFETY: the load covers the 16 bytes.
        unsafe { vld1q_u8(bytes.as_ptr()) }
    };
    let [first, second] = &row.coarse[block];
    let (first, second) = (bytes(first), bytes(second));
    let low = vdupq_n_u8(15);
    let mut codes = [
        vandq_u8(first, low),
        vshrq_n_u8::<4>(first),
        vandq_u8(second, low),
        vshrq_n_u8::<4>(second),
    ];
    if ALL {
        let fine = bytes(&row.fine[block][0]);
        let low = vdupq_n_u8(3);
        let fine = [
            vandq_u8(fine, low),
            vandq_u8(vshrq_n_u8::<2>(fine), low),
            vandq_u8(vshrq_n_u8::<4>(fine), low),
            vshrq_n_u8::<6>(fine),
        ];
        for (code, fine) in codes.iter_mut().zip(fine) {
            *code = vorrq_u8(vshlq_n_u8::<2>(*code), fine);
        }
    }
    codes.map(|code| vreinterpretq_s8_u8(code))
}

impl<D: ByteDot> ScreenDot for Aarch64<D> {
    #[inline(always)]
    fn screen<const ALL: bool, const R: usize, const P: usize>(
        self,
        rows: [Codes<'_>; R],
        ahead: [CodesAhead<'_>; R],
        planes: [&[Plane]; P],
    ) -> [[i32; P]; R] {
        // SAFETY: `self` proves NEON; every load covers the sixteen bytes of the slice that it is
        // from.
        unsafe {
            let mut sums = [[vdupq_n_s32(0); P]; R];
            for i in 0..rows.first().map_or(0, |row| row.coarse.len()) {
                for ((row, ahead), sums) in rows.iter().zip(ahead).zip(&mut sums) {
                    ahead.prefetch::<ALL, _>(self, i);
                    for at in (0..RUN).step_by(16) {
                        let codes = codes::<ALL>(*row, i, at);
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
