//! `I2_S` matrices by columns: a copy in which columns whose activation is 0 are left out, and how
//! it is made of the rows.

use std::ops::Range;

use bitnet_kernels::order::LANES;

use super::batch::results;
use crate::microkernel::columns::{Column, ColumnDot, LINE_BYTES, LINE_ROWS, Line, Lines, row_of};
use crate::microkernel::gemm::{GROUP, GROUP_BYTES};
use crate::microkernel::operands::{Encoded, MatrixRef};

/// Bytes of a row that are taken apart at a time.
const AT_ONCE: usize = 8;

/// Adds the products of listed columns to the sums of all rows.
#[inline(always)]
pub(crate) fn add<B: ColumnDot>(
    b: B,
    m: Lines<'_>,
    list: &[Column],
    sums: &mut [[i32; LINE_ROWS]],
) {
    b.add_columns(m, list, sums);
}

/// What the sums of the codes of all rows with a token come to.
#[inline(always)]
pub(crate) fn finish<B: ColumnDot>(
    b: B,
    m: &MatrixRef<'_>,
    sums: &[[i32; LINE_ROWS]],
    x: &Encoded<'_>,
    token: usize,
    out: &mut [f32],
) {
    let strips = sums.as_flattened().as_chunks::<LANES>().0;
    for (sums, out) in strips.iter().zip(out.chunks_mut(LANES)) {
        out.copy_from_slice(&results(b, m, sums, x, token)[..out.len()]);
    }
}

/// The lines of the columns of a group, in at most [`LINE_ROWS`] adjacent rows. Rows that fill a
/// line up are zeros and never asked for.
pub(crate) fn lines(m: &MatrixRef<'_>, rows: Range<usize>, group: usize, out: &mut [Line; GROUP]) {
    for byte in 0..LINE_BYTES {
        let mut four: [&[u8]; 4] = [&[0; GROUP_BYTES]; 4];
        for (place, four) in four.iter_mut().enumerate() {
            let row = rows.start + place * LINE_BYTES + row_of(byte);
            if row < rows.end {
                *four = &m.row(row)[group * GROUP_BYTES..(group + 1) * GROUP_BYTES];
            }
        }
        let four = four.map(|row| row.as_chunks::<AT_ONCE>().0);
        for at in 0..GROUP_BYTES / AT_ONCE {
            let words = four.map(|row| u64::from_le_bytes(row[at]));
            for (quarter, codes) in transposed(words).into_iter().enumerate() {
                for (i, codes) in codes.to_le_bytes().into_iter().enumerate() {
                    out[quarter * GROUP_BYTES + at * AT_ONCE + i].0[byte] = codes;
                }
            }
        }
    }
}

/// Of four rows' bytes of four columns each, the highest bits first: four columns' bytes of four
/// rows each, the lowest bits first.
fn transposed(rows: [u64; 4]) -> [u64; 4] {
    const CODE: u64 = 0x0303_0303_0303_0303;
    std::array::from_fn(|column| {
        let codes = rows.map(|row| row >> (6 - 2 * column) & CODE);
        codes[0] | codes[1] << 2 | codes[2] << 4 | codes[3] << 6
    })
}
