//! Products of columns in NEON.

use std::arch::aarch64::*;

use super::byte_dot::{Aarch64, ByteDot};
use super::dot::two_bits;
use crate::microkernel::columns::{Column, ColumnDot, LINE_BYTES, LINE_ROWS, Lines, row_of};

/// Columns that are added before 16-bit sums are widened: products are at most 3 * 128 in
/// magnitude.
const AT_ONCE: usize = 16;

/// Bytes of a register.
const REGISTER: usize = size_of::<uint8x16_t>();

impl<D: ByteDot> ColumnDot for Aarch64<D> {
    #[inline(always)]
    fn add_columns(self, m: Lines<'_>, list: &[Column], sums: &mut [[i32; LINE_ROWS]]) {
        for some in list.chunks(AT_ONCE) {
            for (i, sums) in sums.iter_mut().enumerate() {
                for first in (0..LINE_BYTES).step_by(REGISTER) {
                    // SAFETY: `self` proves NEON; a load covers a quarter of a line, the others and
                    // the stores their arrays.
                    unsafe {
                        let mut products = [[vdupq_n_s16(0); 2]; 4];
                        for column in some {
                            let line = &m.column(*column)[i].0[first..first + REGISTER];
                            let bytes = vld1q_u8(line.as_ptr());
                            let q = vdup_n_s8(column.q);
                            for (place, [low, high]) in products.iter_mut().enumerate() {
                                let codes = vreinterpretq_s8_u8(two_bits(bytes, place));
                                *low = vmlal_s8(*low, vget_low_s8(codes), q);
                                *high = vmlal_s8(*high, vget_high_s8(codes), q);
                            }
                        }
                        for (place, halves) in products.into_iter().enumerate() {
                            for (half, products) in halves.into_iter().enumerate() {
                                let parts = [vget_low_s16(products), vget_high_s16(products)];
                                for (part, four) in parts.into_iter().enumerate() {
                                    let at =
                                        place * LINE_BYTES + row_of(first + 8 * half + 4 * part);
                                    let rows = sums[at..at + 4].as_mut_ptr();
                                    vst1q_s32(rows, vaddw_s16(vld1q_s32(rows), four));
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
