//! Tiles of a matrix product: some rows of the weights against some tokens.

use std::ops::Range;

use bitnet_kernels::order::{LANES, fold};

use super::product::{Weights, float_rows};
use crate::microkernel::dot::BlockDot;
use crate::microkernel::operands::{Encoded, Matrix};
use crate::microkernel::simd::Simd;

/// Calls `element(row, token)` for every element of the tile.
#[inline(always)]
fn each(
    rows: Range<usize>,
    tokens: Range<usize>,
    out: &mut [f32],
    mut element: impl FnMut(usize, usize) -> f32,
) {
    let width = rows.len();
    for (r, row) in rows.enumerate() {
        for (t, token) in tokens.clone().enumerate() {
            out[t * width + r] = element(row, token);
        }
    }
}

#[inline(always)]
fn f16(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

#[inline(always)]
pub(crate) fn q6_k<B: BlockDot>(
    b: B,
    m: &Matrix<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    each(rows, tokens, out, |row, token| {
        let blocks = m.row(row).as_chunks::<210>().0.iter();
        let activations = x.q(token).as_chunks::<256>().0.iter();
        let mut sum = 0.0_f32;
        for ((block, q), d) in blocks.zip(activations).zip(x.scales(token)) {
            sum = (f16(&block[208..]) * d).mul_add(b.q6_k(block, q) as f32, sum);
        }
        sum
    });
}

#[inline(always)]
pub(crate) fn q8_0<B: BlockDot>(
    b: B,
    m: &Matrix<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    each(rows, tokens, out, |row, token| {
        let mut lanes = [0.0_f32; LANES];
        let blocks = m
            .row(row)
            .as_chunks::<34>()
            .0
            .iter()
            .zip(x.q(token).as_chunks::<32>().0);
        for (i, ((block, q), d)) in blocks.zip(x.scales(token)).enumerate() {
            let weights = block.last_chunk::<32>().expect("a block has 34 bytes");
            let d = f16(block) * d;
            let half = &mut lanes[i % 2 * 8..i % 2 * 8 + 8];
            for (lane, sum) in half.iter_mut().zip(b.q8_0(weights, q)) {
                *lane = d.mul_add(sum as f32, *lane);
            }
        }
        fold(lanes)
    });
}

/// Rows at a time, so that their chains of additions overlap.
const ROWS: usize = 4;

#[inline(always)]
pub(crate) fn float<L: Simd, W: Weights<L>>(
    l: L,
    m: &Matrix<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    let width = rows.len();
    for first in (0..width).step_by(ROWS) {
        let bytes = &m.bytes[(rows.start + first) * m.stride..];
        for (t, token) in tokens.clone().enumerate() {
            let out = &mut out[t * width + first..(t + 1) * width];
            if out.len() >= ROWS {
                let sums = float_rows::<L, W, ROWS>(l, bytes, m.stride, x.values(token));
                out[..ROWS].copy_from_slice(&sums);
            } else {
                for (r, out) in out.iter_mut().enumerate() {
                    [*out] =
                        float_rows::<L, W, 1>(l, &bytes[r * m.stride..], m.stride, x.values(token));
                }
            }
        }
    }
}
