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

/// `R` rows against `T` rows of activations. What is not finite is NaN.
#[inline(always)]
fn tile<L: Simd, W: Weights<L>, const R: usize, const T: usize>(
    l: L,
    rows: [&[u8]; R],
    x: [&[f32]; T],
) -> [[f32; R]; T] {
    let chunks = x[0].len() / LANES;
    let mut sums = [[l.splat(0.0); R]; T];
    let bytes = LANES * W::BYTES;
    for i in 0..chunks {
        let mut weights = [l.splat(0.0); R];
        for (weights, row) in weights.iter_mut().zip(rows) {
            let bytes = &row[i * bytes..(i + 1) * bytes];
            l.prefetch(bytes, STREAM_DISTANCE);
            *weights = W::load(l, bytes);
        }
        for (sums, x) in sums.iter_mut().zip(x) {
            let x = l.load(&x.as_chunks::<LANES>().0[i]);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = l.fma(weights, x, *sum);
            }
        }
    }
    let mut out = [[0.0; R]; T];
    for ((out, sums), x) in out.iter_mut().zip(sums).zip(x) {
        let tail = x.as_chunks::<LANES>().1;
        for ((out, sum), row) in out.iter_mut().zip(sums).zip(rows) {
            let mut lanes = l.to_array(sum);
            let weights = row[chunks * bytes..].chunks_exact(W::BYTES);
            for ((lane, weight), x) in lanes.iter_mut().zip(weights).zip(tail) {
                *lane = W::one(weight).mul_add(*x, *lane);
            }
            *out = finite_or_nan(fold(lanes));
        }
    }
    out
}

/// Tokens that a row meets before the next row comes: their activations stay in the second cache.
const NEAR_TOKENS: usize = 32;
/// Tokens at a time, where registers hold their sums with four rows.
const TOKENS: usize = 4;

/// `rows` of a matrix against `tokens` of `x` into `out`, `[tokens, rows]`.
#[inline(always)]
pub(crate) fn product<L: Simd, W: Weights<L>>(
    l: L,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    let width = rows.len();
    for first in tokens.clone().step_by(NEAR_TOKENS) {
        let near = first..tokens.end.min(first + NEAR_TOKENS);
        let out = &mut out[(first - tokens.start) * width..];
        near_tokens::<L, W>(l, m, rows.clone(), x, near, out);
    }
}

/// Rows are multiplied four at a time, so that their chains of additions overlap, a quarter of them
/// apart, as [`streams`](super::streams) are.
#[inline(always)]
fn near_tokens<L: Simd, W: Weights<L>>(
    l: L,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    let (width, quarter) = (rows.len(), rows.len() / DOT_ROWS);
    let together = if L::SIXTEEN {
        tokens.len() / TOKENS * TOKENS
    } else {
        0
    };
    for row in 0..quarter {
        let places = [row, quarter + row, 2 * quarter + row, 3 * quarter + row];
        let four = places.map(|place| m.row(rows.start + place));
        let mut put = |t: usize, sums: [f32; DOT_ROWS]| {
            for (place, sum) in places.into_iter().zip(sums) {
                out[t * width + place] = sum;
            }
        };
        for t in (0..together).step_by(TOKENS) {
            let x = [0, 1, 2, 3].map(|i| x.values(tokens.start + t + i));
            let sums = tile::<L, W, DOT_ROWS, TOKENS>(l, four, x);
            for (i, sums) in sums.into_iter().enumerate() {
                put(t + i, sums);
            }
        }
        for t in together..tokens.len() {
            let [sums] = tile::<L, W, DOT_ROWS, 1>(l, four, [x.values(tokens.start + t)]);
            put(t, sums);
        }
    }
    for place in DOT_ROWS * quarter..width {
        for (t, token) in tokens.clone().enumerate() {
            let row = [m.row(rows.start + place)];
            [[out[t * width + place]]] = tile::<L, W, 1, 1>(l, row, [x.values(token)]);
        }
    }
}
