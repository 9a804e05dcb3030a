//! Products of matrices of plain numbers with f32 activations.

use std::ops::Range;

use bitnet_kernels::order::{LANES, finite_or_nan, fold};

use crate::microkernel::dot::DOT_ROWS;
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::simd::{STREAM_DISTANCE, Simd};

/// A row's weights as the kernels read them.
pub(crate) trait Weights<L: Simd>: Copy {
    /// Bytes of a weight.
    const BYTES: usize;
    fn load(l: L, bytes: &[u8]) -> L::F;
    fn one(bytes: &[u8]) -> f32;
}

/// binary32.
#[derive(Clone, Copy)]
pub(crate) struct F32;
/// binary16.
#[derive(Clone, Copy)]
pub(crate) struct F16;
/// bfloat16.
#[derive(Clone, Copy)]
pub(crate) struct BF16;

#[inline(always)]
fn halves(bytes: &[u8]) -> [u16; LANES] {
    let mut out = [0; LANES];
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *out = u16::from_le_bytes(*bytes);
    }
    out
}

impl<L: Simd> Weights<L> for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    fn load(l: L, bytes: &[u8]) -> L::F {
        let mut out = [0.0; LANES];
        for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *out = f32::from_le_bytes(*bytes);
        }
        l.load(&out)
    }
    #[inline(always)]
    fn one(bytes: &[u8]) -> f32 {
        f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    }
}

impl<L: Simd> Weights<L> for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    fn load(l: L, bytes: &[u8]) -> L::F {
        l.load_f16(&halves(bytes))
    }
    #[inline(always)]
    fn one(bytes: &[u8]) -> f32 {
        half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
    }
}

impl<L: Simd> Weights<L> for BF16 {
    const BYTES: usize = 2;
    #[inline(always)]
    fn load(l: L, bytes: &[u8]) -> L::F {
        l.load_bf16(&halves(bytes))
    }
    #[inline(always)]
    fn one(bytes: &[u8]) -> f32 {
        half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
    }
}

/// `R` rows against one row of activations. What is not finite is NaN.
#[inline(always)]
fn float_rows<L: Simd, W: Weights<L>, const R: usize>(
    l: L,
    rows: [&[u8]; R],
    x: &[f32],
) -> [f32; R] {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut sums = [l.splat(0.0); R];
    let bytes = LANES * W::BYTES;
    for (i, chunk) in chunks.iter().enumerate() {
        let x = l.load(chunk);
        for (sum, row) in sums.iter_mut().zip(rows) {
            let weights = &row[i * bytes..(i + 1) * bytes];
            l.prefetch(weights, STREAM_DISTANCE);
            *sum = l.fma(W::load(l, weights), x, *sum);
        }
    }
    let mut out = [0.0; R];
    for (r, out) in out.iter_mut().enumerate() {
        let mut lanes = l.to_array(sums[r]);
        let weights = rows[r][chunks.len() * bytes..].chunks_exact(W::BYTES);
        for ((lane, weight), x) in lanes.iter_mut().zip(weights).zip(tail) {
            *lane = W::one(weight).mul_add(*x, *lane);
        }
        *out = finite_or_nan(fold(lanes));
    }
    out
}

/// `rows` of a matrix against `tokens` of `x` into `out`, `[tokens, rows]`.
///
/// Rows are multiplied four at a time, so that their chains of additions overlap, a quarter of them
/// apart, as [`streams`](super::streams) are.
#[inline(always)]
pub(crate) fn product<L: Simd, W: Weights<L>>(
    l: L,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    let (width, quarter) = (rows.len(), rows.len() / DOT_ROWS);
    for row in 0..quarter {
        let places = [row, quarter + row, 2 * quarter + row, 3 * quarter + row];
        let four = places.map(|place| m.row(rows.start + place));
        for (t, token) in tokens.clone().enumerate() {
            let sums = float_rows::<L, W, DOT_ROWS>(l, four, x.values(token));
            for (place, sum) in places.into_iter().zip(sums) {
                out[t * width + place] = sum;
            }
        }
    }
    for place in DOT_ROWS * quarter..width {
        for (t, token) in tokens.clone().enumerate() {
            let row = [m.row(rows.start + place)];
            [out[t * width + place]] = float_rows::<L, W, 1>(l, row, x.values(token));
        }
    }
}
