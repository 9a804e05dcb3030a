//! Products of matrices of blocks of 256 with one token: rows as they lie, four at a time from as
//! many [streams](super::streams).
//!
//! The weights pass by once, so that their bytes per second are what counts. Rows that are
//! multiplied together share the loads of the activations.

use std::ops::Range;

use bitnet_kernels::format::{Q8K_BLOCK, tq1_0, tq2_0};
use bitnet_kernels::order::LANES;

use super::gemm::LINE;
use super::streams::Streams;
use crate::microkernel::dot::{BlockDot, DOT_ROWS};
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::simd::STREAM_DISTANCE;

/// Blocks whose integers are kept until their floats are made.
pub(super) const RUN: usize = 32;

/// Prefetches what lies [`STREAM_DISTANCE`] bytes behind the `i`th block of each row. A block that
/// is hardly longer than some lines asks for as many.
#[inline(always)]
pub(super) fn prefetch_blocks<B: BlockDot, const BYTES: usize>(
    b: B,
    rows: &[&[[u8; BYTES]]; DOT_ROWS],
    i: usize,
) {
    for row in rows {
        for line in 0..(BYTES - LINE / 8).div_ceil(LINE) {
            b.prefetch(&row[i], STREAM_DISTANCE + line * LINE);
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
    let (width, streams) = (rows.len(), Streams::new(&rows));
    let (mut sums, mut scales) = ([[0; LANES]; RUN], [[0; LANES]; RUN]);
    for (t, token) in tokens.enumerate() {
        let out = &mut out[t * width..(t + 1) * width];
        let blocks = x.q(token).as_chunks::<Q8K_BLOCK>().0;
        for strip in streams.strips() {
            let rows: [&[[u8; BYTES]]; LANES] = streams.rows(strip, |row| m.row(row).as_chunks().0);
            let mut floats = b.splat(0.0);
            for first in (0..blocks.len()).step_by(RUN) {
                let run = first..blocks.len().min(first + RUN);
                for (four, rows) in rows.as_chunks::<DOT_ROWS>().0.iter().enumerate() {
                    let lanes = four * DOT_ROWS..(four + 1) * DOT_ROWS;
                    for i in run.clone() {
                        prefetch_blocks(b, rows, i);
                        let four = rows.map(|row| &row[i]);
                        let products = integers(four, &blocks[i], x.sums(token)[i]);
                        sums[i - first][lanes.clone()].copy_from_slice(&products);
                        let halves =
                            four.map(|block| u16::from_le_bytes([block[AT], block[AT + 1]]));
                        scales[i - first][lanes.clone()].copy_from_slice(&halves);
                    }
                }
                for i in run {
                    let d = b.splat(x.scales(token)[i]);
                    let d = b.mul(b.load_f16(&scales[i - first]), d);
                    let mut values = [0.0; LANES];
                    for (value, sum) in values.iter_mut().zip(sums[i - first]) {
                        *value = sum as f32;
                    }
                    floats = b.fma(d, b.load(&values), floats);
                }
            }
            streams.put(strip, b.to_array(b.finite_or_nan(floats)), out);
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
