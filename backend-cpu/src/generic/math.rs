//! Norm, activation and the exponential.

use bitnet_kernels::order::{LANES, finite_or_nan, fold};
use bitnet_kernels::program::Activation;

use crate::microkernel::simd::Simd;

/// `e^x` in each lane; the same polynomial as the oracle's.
#[inline(always)]
pub(crate) fn exp<L: Simd>(l: L, x: L::F) -> L::F {
    // In this order of operands NaN stays.
    let x = l.min(l.splat(88.0), x);
    let x = l.max(l.splat(-87.0), x);
    let n = l.round(l.mul(x, l.splat(std::f32::consts::LOG2_E)));
    let r = l.fma(n, l.splat(-0.693_359_4), x);
    let r = l.fma(n, l.splat(2.121_944_4e-4), r);
    let mut p = l.splat(1.987_569_1e-4);
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = l.fma(p, r, l.splat(c));
    }
    let p = l.add(l.fma(p, l.mul(r, r), r), l.splat(1.0));
    l.mul(p, l.exp2_integral(n))
}

/// What an RMS norm multiplies a row by: `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
pub(crate) fn norm_factor<L: Simd>(l: L, x: &[f32], eps: f32) -> f32 {
    let (chunks, tail) = x.as_chunks::<LANES>();
    let mut sums = l.zero_f64();
    for chunk in chunks {
        let x = l.load(chunk);
        sums = l.add_f64(sums, l.mul(x, x));
    }
    let mut sums = l.store_f64(sums);
    for (sum, x) in sums.iter_mut().zip(tail) {
        *sum += f64::from(x * x);
    }
    let mean = finite_or_nan((fold(sums) / x.len() as f64) as f32);
    1.0 / (mean + eps).sqrt()
}

/// RMS norm of a row: `out = x / sqrt(mean(x^2) + eps) * gain`, NaN where the mean is not finite.
#[inline(always)]
pub(crate) fn norm<L: Simd>(l: L, x: &[f32], gain: &[f32], eps: f32, out: &mut [f32]) {
    let factor = norm_factor(l, x, eps);
    for ((x, gain), out) in x.iter().zip(gain).zip(out) {
        *out = x * factor * gain;
    }
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn silu<L: Simd>(l: L, x: L::F) -> L::F {
    let e = exp(l, l.sub(l.splat(0.0), x));
    l.div(x, l.add(l.splat(1.0), e))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<L: Simd>(l: L, x: L::F) -> L::F {
    let e = exp(l, l.sub(l.splat(0.0), x));
    l.div(l.splat(1.0), l.add(l.splat(1.0), e))
}

/// A function of one value, in each lane. A type and not a closure or a function handed over: those
/// are called through code that is compiled without the instruction set's features.
trait Curve {
    fn of<L: Simd>(l: L, x: L::F) -> L::F;
}

struct Silu;
struct Sigmoid;

impl Curve for Silu {
    #[inline(always)]
    fn of<L: Simd>(l: L, x: L::F) -> L::F {
        silu(l, x)
    }
}

impl Curve for Sigmoid {
    #[inline(always)]
    fn of<L: Simd>(l: L, x: L::F) -> L::F {
        sigmoid(l, x)
    }
}

/// `out = C(gate) * up`.
#[inline(always)]
fn gate_by<L: Simd, C: Curve>(l: L, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (gates, gate_tail) = gate.as_chunks::<LANES>();
    let (ups, up_tail) = up.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    for ((gate, up), out) in gates.iter().zip(ups).zip(outs) {
        l.store(l.mul(C::of(l, l.load(gate)), l.load(up)), out);
    }
    let tail = C::of(l, l.load_tail(gate_tail, 0.0));
    let tail = l.to_array(l.mul(tail, l.load_tail(up_tail, 0.0)));
    out_tail.copy_from_slice(&tail[..out_tail.len()]);
}

/// `out = activation(gate) * up`.
#[inline(always)]
pub(crate) fn gate<L: Simd>(
    l: L,
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    out: &mut [f32],
) {
    match activation {
        Activation::Silu => gate_by::<L, Silu>(l, gate, up, out),
        Activation::Sigmoid => gate_by::<L, Sigmoid>(l, gate, up, out),
        Activation::Relu2 => {
            for ((gate, up), out) in gate.iter().zip(up).zip(out) {
                // What is not finite times 0 is NaN.
                let gate = if *gate > 0.0 { *gate } else { *gate * 0.0 };
                // Zeros are positive.
                *out = gate * gate * up + 0.0;
            }
        }
    }
}
