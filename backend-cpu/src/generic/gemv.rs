//! Products of matrices of blocks of 256 with one token: rows as they lie, a few at a time.
//!
//! The weights pass by once, so that their bytes per second are what counts. Adjacent rows share
//! the loads of the activations.

use std::ops::Range;

use bitnet_kernels::format::{Q8K_BLOCK, tq1_0, tq2_0};
use bitnet_kernels::order::LANES;

use super::gemm::LINE;
use crate::microkernel::dot::{BlockDot, DOT_ROWS};
use crate::microkernel::operands::{Encoded, MatrixRef};

/// Prefetches what lies `ahead` bytes behind the `i`th block of each row of a strip. A block that
/// is hardly longer than some lines asks for as many.
#[inline(always)]
pub(super) fn prefetch_blocks<B: BlockDot, const BYTES: usize>(
    b: B,
    strip: &[&[[u8; BYTES]]; LANES],
    i: usize,
    ahead: usize,
) {
    for row in strip {
        for line in 0..(BYTES - LINE / 8).div_ceil(LINE) {
            b.prefetch(&row[i], ahead + line * LINE);
        }
    }
}

/// `rows` of a matrix with a scale per block of `BYTES`, at byte `AT` of it, against `tokens` of
/// `x`. `integers` makes the products of a block of some rows, given the sum of the activations.
#[inline(always)]
pub(super) fn scaled<B: BlockDot, const BYTES: usize, const AT: usize>(
    b: B,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
    integers: impl Fn([&[u8; BYTES]; DOT_ROWS], &[i8; Q8K_BLOCK], i32) -> [i32; DOT_ROWS],
) {
    let width = rows.len();
    for (t, token) in tokens.enumerate() {
        let out = &mut out[t * width..(t + 1) * width];
        for (strip, out) in out.chunks_mut(LANES).enumerate() {
            // Rows that fill up the last strip repeat the last one; their results are dropped.
            let first = rows.start + strip * LANES;
            let strip: [&[[u8; BYTES]]; LANES] =
                std::array::from_fn(|r| m.row((first + r).min(rows.end - 1)).as_chunks().0);
            let mut floats = b.splat(0.0);
            let blocks = x.q(token).as_chunks::<Q8K_BLOCK>().0.iter();
            for (i, (q, d)) in blocks.zip(x.scales(token)).enumerate() {
                let mut sums = [0; LANES];
                let mut values = [0.0; LANES];
                let mut scales = [0; LANES];
                prefetch_blocks(b, &strip, i, LANES * m.stride);
                let total = x.sums(token)[i];
                let fours = sums.as_chunks_mut::<DOT_ROWS>().0.iter_mut();
                for (sums, rows) in fours.zip(strip.as_chunks::<DOT_ROWS>().0) {
                    let [e, f, g, h] = rows;
                    *sums = integers([&e[i], &f[i], &g[i], &h[i]], q, total);
                }
                for (scale, row) in scales.iter_mut().zip(strip) {
                    *scale = u16::from_le_bytes([row[i][AT], row[i][AT + 1]]);
                }
                for (value, sum) in values.iter_mut().zip(sums) {
                    *value = sum as f32;
                }
                let d = b.mul(b.load_f16(&scales), b.splat(*d));
                floats = b.fma(d, b.load(&values), floats);
            }
            let floats = b.to_array(b.finite_or_nan(floats));
            out.copy_from_slice(&floats[..out.len()]);
        }
    }
}

/// `TQ2_0`.
#[inline(always)]
pub(crate) fn tq2_0<B: BlockDot>(
    b: B,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    scaled::<B, { tq2_0::BLOCK_BYTES }, { tq2_0::SCALE_AT }>(
        b,
        m,
        rows,
        x,
        tokens,
        out,
        |blocks, q, total| {
            let [e, f, g, h] = blocks.map(|block| {
                let (codes, _) = block
                    .split_first_chunk()
                    .expect("a block begins with its codes");
                codes
            });
            b.tq2_0_rows([e, f, g, h], q).map(|sum| sum - total)
        },
    );
}

/// `TQ1_0`.
#[inline(always)]
pub(crate) fn tq1_0<B: BlockDot>(
    b: B,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    scaled::<B, { tq1_0::BLOCK_BYTES }, { tq1_0::SCALE_AT }>(
        b,
        m,
        rows,
        x,
        tokens,
        out,
        |blocks, q, total| b.tq1_0_rows(blocks, q).map(|sum| sum - total),
    );
}
