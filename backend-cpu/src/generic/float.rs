//! Products of matrices of plain numbers with f32 activations.

use std::ops::Range;

use bitnet_kernels::order::{LANES, finite_or_nan, fold};

use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::simd::Simd;

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

/// `R` adjacent rows of `row_bytes` each against one row of activations. What is not finite is NaN.
#[inline(always)]
pub(crate) fn float_rows<L: Simd, W: Weights<L>, const R: usize>(
    l: L,
    rows: &[u8],
    row_bytes: usize,
    x: &[f32],
) -> [f32; R] {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut sums = [l.splat(0.0); R];
    let bytes = LANES * W::BYTES;
    for (i, chunk) in chunks.iter().enumerate() {
        let x = l.load(chunk);
        for (r, sum) in sums.iter_mut().enumerate() {
            let at = r * row_bytes + i * bytes;
            *sum = l.fma(W::load(l, &rows[at..at + bytes]), x, *sum);
        }
    }
    let mut out = [0.0; R];
    for (r, out) in out.iter_mut().enumerate() {
        let mut lanes = l.to_array(sums[r]);
        for (j, x) in tail.iter().enumerate() {
            let at = r * row_bytes + chunks.len() * bytes + j * W::BYTES;
            lanes[j] = W::one(&rows[at..at + W::BYTES]).mul_add(*x, lanes[j]);
        }
        *out = finite_or_nan(fold(lanes));
    }
    out
}

/// Rows that are multiplied at a time, so that their chains of additions overlap.
const FLOAT_ROWS: usize = 4;

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
    for first in (0..width).step_by(FLOAT_ROWS) {
        let bytes = &m.bytes[(rows.start + first) * m.stride..];
        for (t, token) in tokens.clone().enumerate() {
            let out = &mut out[t * width + first..(t + 1) * width];
            if out.len() >= FLOAT_ROWS {
                let sums = float_rows::<L, W, FLOAT_ROWS>(l, bytes, m.stride, x.values(token));
                out[..FLOAT_ROWS].copy_from_slice(&sums);
            } else {
                for (r, out) in out.iter_mut().enumerate() {
                    [*out] =
                        float_rows::<L, W, 1>(l, &bytes[r * m.stride..], m.stride, x.values(token));
                }
            }
        }
    }
}
