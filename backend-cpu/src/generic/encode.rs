//! Activations into the encodings that the weight formats want.

use bitnet_kernels::order::LANES;

use crate::microkernel::simd::Simd;

#[inline(always)]
fn largest<L: Simd>(l: L, x: &[f32]) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut max = l.abs(l.load_tail(tail, 0.0));
    for chunk in chunks {
        max = l.max(l.abs(l.load(chunk)), max);
    }
    l.to_array(max)
        .into_iter()
        .fold(0.0, |a, b| if b > a { b } else { a })
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

/// One scale for the row, which is returned.
#[inline(always)]
pub(crate) fn encode_i8<L: Simd>(l: L, x: &[f32], q: &mut [i8]) -> f32 {
    let scale = (127.0 / f64::from(largest(l, x)).max(1e-5)) as f32;
    scale_into(l, x, scale, q);
    scale
}

/// One scale per 256 values, into `d`.
#[inline(always)]
pub(crate) fn encode_q8k<L: Simd>(l: L, x: &[f32], q: &mut [i8], d: &mut [f32]) {
    for ((x, q), d) in x.chunks_exact(256).zip(q.chunks_exact_mut(256)).zip(d) {
        let size = largest(l, x);
        if size == 0.0 {
            q.fill(0);
            *d = 0.0;
            continue;
        }
        // The first element of that size decides the sign.
        let first = x.iter().find(|x| x.abs() == size).copied().unwrap_or(size);
        let inverse = -127.0 / first;
        scale_into(l, x, inverse, q);
        *d = 1.0 / inverse;
    }
}

/// One scale per 32 values, rounded to f16, into `d`.
#[inline(always)]
pub(crate) fn encode_q8_0<L: Simd>(l: L, x: &[f32], q: &mut [i8], d: &mut [f32]) {
    for ((x, q), d) in x.chunks_exact(32).zip(q.chunks_exact_mut(32)).zip(d) {
        let scale = largest(l, x) / 127.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        scale_into(l, x, inverse, q);
        *d = half::f16::from_f32(scale).to_f32();
    }
}
