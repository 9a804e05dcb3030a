//! Products of matrices of integer blocks: block after block, each integer sum times the scales of
//! both sides.

use std::ops::Range;

use bitnet_kernels::format::{MAX_BLOCK_LEN, Q8_0_BLOCK, Q8K_BLOCK, Reduction, q6_k, q8_0};
use bitnet_kernels::order::{LANES, fold};

use crate::microkernel::dot::BlockDot;
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
    let Some(Reduction::Blocks { unpack }) = product.map(|product| &product.reduction) else {
        unreachable!(
            "{} is no format of integer blocks and needs a kernel",
            m.format
        );
    };
    let block_len = m.format.block_len();
    // Activations that share a scale, and weights and activations that share both.
    let scaled = x.width / x.scales_per_token.max(1);
    let piece = block_len.min(scaled);
    let mut unpacked = [0_i16; MAX_BLOCK_LEN];
    let integers = &mut unpacked[..block_len];
    let width = rows.len();
    out[..width * tokens.len()].fill(0.0);
    for (r, row) in rows.enumerate() {
        let blocks = m.row(row).chunks_exact(m.format.block_bytes());
        for (block, bytes) in blocks.enumerate() {
            let scale = unpack(bytes, integers);
            for (t, token) in tokens.clone().enumerate() {
                let out = &mut out[t * width + r];
                let (q, scales) = (x.q(token), x.scales(token));
                for first in (0..block_len).step_by(piece) {
                    let at = block * block_len + first;
                    let integer = dot(&integers[first..first + piece], &q[at..at + piece]);
                    *out = (scale * scales[at / scaled]).mul_add(integer as f32, *out);
                }
            }
        }
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

/// Calls `element(row, token)` for every element of `out`, `[tokens, rows]`.
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
    each(rows, tokens, out, |row, token| {
        let blocks = m.row(row).as_chunks::<{ q6_k::BLOCK_BYTES }>().0.iter();
        let activations = x.q(token).as_chunks::<Q8K_BLOCK>().0.iter();
        let mut sum = 0.0_f32;
        for ((block, q), d) in blocks.zip(activations).zip(x.scales(token)) {
            sum = (f16(&block[q6_k::SCALE_AT..]) * d).mul_add(b.q6_k(block, q) as f32, sum);
        }
        sum
    });
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
