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
const RUN: usize = 32;

/// Prefetches what lies [`STREAM_DISTANCE`] bytes behind the `i`th block of each row. A block that
/// is hardly longer than some lines asks for as many.
#[inline(always)]
fn prefetch_blocks<B: BlockDot, const BYTES: usize>(
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

/// How blocks become floats: each has `N` sums of integers, times a scale of its own, and a float
/// is the sum of all.
pub(super) struct Blocks<P, I, const N: usize> {
    /// Where in a block each scale stands, and its sign.
    pub(super) scales: [(usize, f32); N],
    /// What rows need of a block of activations and their sum.
    pub(super) prepare: P,
    /// The sums of a block of some rows.
    pub(super) integers: I,
}

/// `rows` of a matrix of blocks of `BYTES` against `tokens` of `x`.
#[inline(always)]
pub(super) fn by_blocks<B: BlockDot, Q: Copy + Default, const BYTES: usize, const N: usize>(
    b: B,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
    format: Blocks<
        impl Fn(&[i8; Q8K_BLOCK], i32) -> Q,
        impl Fn([&[u8; BYTES]; DOT_ROWS], &[i8; Q8K_BLOCK], &Q) -> [[i32; DOT_ROWS]; N],
        N,
    >,
) {
    let Blocks {
        scales,
        prepare,
        integers,
    } = format;
    let (width, streams) = (rows.len(), Streams::new(&rows));
    let (mut sums, mut halves) = ([[[0; LANES]; N]; RUN], [[[0; LANES]; N]; RUN]);
    let mut prepared = [Q::default(); RUN];
    for (t, token) in tokens.enumerate() {
        let out = &mut out[t * width..(t + 1) * width];
        let blocks = x.q(token).as_chunks::<Q8K_BLOCK>().0;
        for strip in streams.strips() {
            let rows: [&[[u8; BYTES]]; LANES] = streams.rows(strip, |row| m.row(row).as_chunks().0);
            let mut floats = b.splat(0.0);
            for first in (0..blocks.len()).step_by(RUN) {
                let run = first..blocks.len().min(first + RUN);
                for i in run.clone() {
                    prepared[i - first] = prepare(&blocks[i], x.sums(token)[i]);
                }
                for (four, rows) in rows.as_chunks::<DOT_ROWS>().0.iter().enumerate() {
                    let lanes = four * DOT_ROWS..(four + 1) * DOT_ROWS;
                    for i in run.clone() {
                        prefetch_blocks(b, rows, i);
                        let four = rows.map(|row| &row[i]);
                        let at = i - first;
                        let products = integers(four, &blocks[i], &prepared[at]);
                        for n in 0..N {
                            let (place, _) = scales[n];
                            let scales = four
                                .map(|block| u16::from_le_bytes([block[place], block[place + 1]]));
                            sums[at][n][lanes.clone()].copy_from_slice(&products[n]);
                            halves[at][n][lanes.clone()].copy_from_slice(&scales);
                        }
                    }
                }
                for i in run {
                    for n in 0..N {
                        let (_, sign) = scales[n];
                        let d = b.splat(sign * x.scales(token)[i]);
                        let d = b.mul(b.load_f16(&halves[i - first][n]), d);
                        let mut values = [0.0; LANES];
                        for (value, sum) in values.iter_mut().zip(sums[i - first][n]) {
                            *value = sum as f32;
                        }
                        floats = b.fma(d, b.load(&values), floats);
                    }
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
    by_blocks(
        b,
        m,
        rows,
        x,
        tokens,
        out,
        Blocks {
            scales: [(tq2_0::SCALE_AT, 1.0)],
            prepare: |_: &_, total| total,
            integers: |blocks: [&[u8; tq2_0::BLOCK_BYTES]; _], q: &_, total: &i32| {
                let [e, f, g, h] = blocks.map(|block| {
                    let (codes, _) = block
                        .split_first_chunk()
                        .expect("a block begins with its codes");
                    codes
                });
                [b.tq2_0_rows([e, f, g, h], q).map(|sum| sum - total)]
            },
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
    by_blocks(
        b,
        m,
        rows,
        x,
        tokens,
        out,
        Blocks {
            scales: [(tq1_0::SCALE_AT, 1.0)],
            prepare: |_: &_, total| total,
            integers: |blocks: [&[u8; tq1_0::BLOCK_BYTES]; _], q: &_, total: &i32| {
                [b.tq1_0_rows(blocks, q).map(|sum| sum - total)]
            },
        },
    );
}
