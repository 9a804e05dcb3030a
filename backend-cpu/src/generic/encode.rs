//! Activations into the encodings that the weight formats want.

use bitnet_kernels::format::Encoding;
use bitnet_kernels::order::LANES;

use crate::microkernel::simd::Simd;

/// The largest magnitude; NaN where a value is NaN.
#[inline(always)]
fn largest<L: Simd>(l: L, x: &[f32]) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut max = l.abs(l.load_tail(tail, 0.0));
    for chunk in chunks {
        max = l.max_magnitude(l.abs(l.load(chunk)), max);
    }
    largest_lane(l, max)
}

/// The largest lane of magnitudes; NaN where a lane is NaN.
#[inline(always)]
pub(super) fn largest_lane<L: Simd>(l: L, magnitudes: L::F) -> f32 {
    let lanes = l.to_array(magnitudes).into_iter();
    f32::from_bits(lanes.map(f32::to_bits).fold(0, u32::max))
}

#[inline(always)]
fn scale_into<L: Simd>(l: L, x: &[f32], scale: f32, q: &mut [i8]) {
    let scale = l.splat(scale);
    let (chunks, tail) = x.as_chunks::<LANES>();
    let (outs, out_tail) = q.as_chunks_mut::<LANES>();
    for (chunk, out) in chunks.iter().zip(outs) {
        l.store_i8(l.mul(l.load(chunk), scale), out);
    }
    if !tail.is_empty() {
        let mut padded = [0; LANES];
        l.store_i8(l.mul(l.load_tail(tail, 0.0), scale), &mut padded);
        out_tail.copy_from_slice(&padded[..out_tail.len()]);
    }
}

/// Encodes a row in one of the integer encodings: the integers into `q`, the scales into `scales`,
/// and the sums of the integers that share a scale into `sums`.
#[inline(always)]
pub(crate) fn encode<S: Simd>(
    s: S,
    encoding: Encoding,
    x: &[f32],
    q: &mut [i8],
    scales: &mut [f32],
    sums: &mut [i32],
) {
    let block = encoding.block_len(x.len()).unwrap_or(1);
    let blocks = x.chunks_exact(block).zip(q.chunks_exact_mut(block));
    for ((x, q), (scale, sum)) in blocks.zip(scales.iter_mut().zip(sums)) {
        let largest = largest(s, x);
        if !largest.is_finite() {
            q.fill(0);
            (*scale, *sum) = (f32::NAN, 0);
            continue;
        }
        *scale = match encoding {
            Encoding::F32 => unreachable!("f32 activations are not encoded"),
            Encoding::I8 => encode_i8(s, x, largest, q),
            Encoding::Q8K => encode_q8k(s, x, largest, q),
            Encoding::Q8_0 => encode_q8_0(s, x, largest, q),
        };
        *sum = 0;
        for q in &*q {
            *sum += i32::from(*q);
        }
    }
}

#[inline(always)]
fn encode_i8<S: Simd>(s: S, x: &[f32], largest: f32, q: &mut [i8]) -> f32 {
    let scale = (127.0 / f64::from(largest).max(1e-5)) as f32;
    scale_into(s, x, scale, q);
    scale
}

#[inline(always)]
fn encode_q8k<S: Simd>(s: S, x: &[f32], largest: f32, q: &mut [i8]) -> f32 {
    // The first element of that size decides the sign.
    let first = x.iter().find(|x| x.abs() == largest);
    let inverse = -127.0 / first.copied().unwrap_or(largest);
    if inverse.is_infinite() {
        q.fill(0);
        return 0.0;
    }
    scale_into(s, x, inverse, q);
    1.0 / inverse
}

#[inline(always)]
fn encode_q8_0<S: Simd>(s: S, x: &[f32], largest: f32, q: &mut [i8]) -> f32 {
    let inverse = 127.0 / largest;
    if inverse.is_infinite() {
        q.fill(0);
        return 0.0;
    }
    scale_into(s, x, inverse, q);
    let scale = largest / 127.0;
    half::f16::from_f32(scale).to_f32()
}
