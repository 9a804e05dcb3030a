//! Products of matrices of integer blocks: block after block, each integer sum times the scales of
//! both sides.

use std::ops::Range;

use bitnet_kernels::format::{MAX_BLOCK_LEN, Q8_0_BLOCK, Reduction, q4_k, q5_k, q6_k, q8_0};
use bitnet_kernels::order::{LANES, finite_or_nan, fold};

use super::gemv::{Blocks, by_blocks};
use crate::microkernel::dot::{BlockDot, WithMinima};
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::simd::Simd;

/// Any format whose reduction is [`Reduction::Blocks`], from its descriptor alone: for formats that
/// nobody has written SIMD for. A block is unpacked once for all tokens.
#[inline(always)]
pub(crate) fn any<S: Simd>(
    _s: S,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    let product = m.format.descriptor().product.as_ref();
    let Some(Reduction::Blocks { unpack, minima }) = product.map(|product| &product.reduction)
    else {
        unreachable!(
            "{} is no format of integer blocks and needs a kernel",
            m.format
        );
    };
    let block_len = m.format.block_len();
    // Activations that share a scale, and weights and activations that share both.
    let scaled = x.width / x.scales_per_token.max(1);
    let piece = block_len.min(scaled);
    let mut unpacked = [[0_i16; MAX_BLOCK_LEN]; 2];
    let [integers, taken_off] = unpacked.each_mut().map(|block| &mut block[..block_len]);
    let width = rows.len();
    out[..width * tokens.len()].fill(0.0);
    for (r, row) in rows.enumerate() {
        let blocks = m.row(row).chunks_exact(m.format.block_bytes());
        for (block, bytes) in blocks.enumerate() {
            let scale = unpack(bytes, integers);
            let minimum_scale = minima.map(|unpack| unpack(bytes, taken_off));
            for (t, token) in tokens.clone().enumerate() {
                let out = &mut out[t * width + r];
                let (q, scales) = (x.q(token), x.scales(token));
                if piece < block_len {
                    let mut inner = 0.0_f32;
                    for first in (0..block_len).step_by(piece) {
                        let at = block * block_len + first;
                        let integer = dot(&integers[first..first + piece], &q[at..at + piece]);
                        inner = scales[at / scaled].mul_add(integer as f32, inner);
                    }
                    *out = scale.mul_add(inner, *out);
                    continue;
                }
                for first in (0..block_len).step_by(piece) {
                    let at = block * block_len + first;
                    let integer = dot(&integers[first..first + piece], &q[at..at + piece]);
                    let d = scales[at / scaled];
                    *out = (scale * d).mul_add(integer as f32, *out);
                    if let Some(scale) = minimum_scale {
                        let integer = dot(&taken_off[first..first + piece], &q[at..at + piece]);
                        *out = (-(scale * d)).mul_add(integer as f32, *out);
                    }
                }
            }
        }
    }
    for out in &mut out[..width * tokens.len()] {
        *out = finite_or_nan(*out);
    }
}

#[inline(always)]
fn dot(weights: &[i16], q: &[i8]) -> i32 {
    let mut sum = 0;
    for (weight, q) in weights.iter().zip(q) {
        sum += i32::from(*weight) * i32::from(*q);
    }
    sum
}

/// Writes `element(row, token)`, or NaN where it is not finite, to every element of `out`,
/// `[tokens, rows]`.
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
            out[t * width + r] = finite_or_nan(element(row, token));
        }
    }
}

#[inline(always)]
fn f16(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// `Q4_K`.
#[inline(always)]
pub(crate) fn q4_k<B: BlockDot>(
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
            scales: [(0, 1.0), (q4_k::DMIN_AT, -1.0)],
            prepare: |q: &_, _| b.group_sums(q),
            integers: |blocks: [&[u8; q4_k::BLOCK_BYTES]; _], q: &_, sums: &_| {
                let WithMinima { values, minima } = b.q4_k_rows(blocks, q, sums);
                [values, minima]
            },
        },
    );
}

/// `Q5_K`.
#[inline(always)]
pub(crate) fn q5_k<B: BlockDot>(
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
            scales: [(0, 1.0), (q5_k::DMIN_AT, -1.0)],
            prepare: |q: &_, _| b.group_sums(q),
            integers: |blocks: [&[u8; q5_k::BLOCK_BYTES]; _], q: &_, sums: &_| {
                let WithMinima { values, minima } = b.q5_k_rows(blocks, q, sums);
                [values, minima]
            },
        },
    );
}

/// `Q6_K`.
#[inline(always)]
pub(crate) fn q6_k<B: BlockDot>(
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
            scales: [(q6_k::SCALE_AT, 1.0)],
            prepare: |_: &_, _| (),
            integers: |blocks: [&[u8; q6_k::BLOCK_BYTES]; _], q: &_, (): &_| {
                [b.q6_k_rows(blocks, q)]
            },
        },
    );
}

/// `Q8_0`.
#[inline(always)]
pub(crate) fn q8_0<B: BlockDot>(
    b: B,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    each(rows, tokens, out, |row, token| {
        let mut lanes = [0.0_f32; LANES];
        let blocks = m
            .row(row)
            .as_chunks::<{ q8_0::BLOCK_BYTES }>()
            .0
            .iter()
            .zip(x.q(token).as_chunks::<Q8_0_BLOCK>().0);
        for (i, ((block, q), d)) in blocks.zip(x.scales(token)).enumerate() {
            let weights = block.last_chunk().expect("a block ends with its weights");
            let d = f16(block) * d;
            let half = &mut lanes[i % 2 * (LANES / 2)..][..LANES / 2];
            for (lane, sum) in half.iter_mut().zip(b.q8_0(weights, q)) {
                *lane = d.mul_add(sum as f32, *lane);
            }
        }
        fold(lanes)
    });
}
