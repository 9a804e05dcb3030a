//! The causal convolution and the gated delta rule.

use bitnet_kernels::order::LANES;

use super::math::{self, exp, norm_factor, sigmoid};
use crate::microkernel::simd::Simd;

/// `sums += weights * x`, element by element: one column of a convolution for some channels.
#[inline(always)]
pub(crate) fn multiply_add<L: Simd>(l: L, weights: &[f32], x: &[f32], sums: &mut [f32]) {
    let (weights, weight_tail) = weights.as_chunks::<LANES>();
    let (x, x_tail) = x.as_chunks::<LANES>();
    let (sums, sum_tail) = sums.as_chunks_mut::<LANES>();
    for ((weights, x), sums) in weights.iter().zip(x).zip(sums) {
        l.store(l.fma(l.load(weights), l.load(x), l.load(sums)), sums);
    }
    for ((weight, x), sum) in weight_tail.iter().zip(x_tail).zip(sum_tail) {
        *sum = weight.mul_add(*x, *sum);
    }
}

/// `x = silu(x)`.
#[inline(always)]
pub(crate) fn silu<L: Simd>(l: L, x: &mut [f32]) {
    let (chunks, tail) = x.as_chunks_mut::<LANES>();
    for chunk in chunks {
        l.store(math::silu(l, l.load(chunk)), chunk);
    }
    let silu = math::silu(l, l.load_tail(tail, 0.0));
    tail.copy_from_slice(&l.to_array(silu)[..tail.len()]);
}

/// `ln(1 + e^x)`, as the oracle has it.
#[inline(always)]
fn softplus<L: Simd>(l: L, x: L::F) -> L::F {
    let t = exp(l, l.sub(l.splat(0.0), l.abs(x)));
    let z = l.div(t, l.add(l.splat(2.0), t));
    let w = l.mul(z, z);
    let mut p = l.splat(1.0 / 15.0);
    for n in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        p = l.fma(p, w, l.splat(1.0 / n));
    }
    let z = l.add(z, z);
    let log = l.fma(z, l.mul(w, p), z);
    // Zero comes first so that NaN stays one.
    l.add(l.max(l.splat(0.0), x), log)
}

/// `out = x / sqrt(sum(x^2) + eps)`, by way of the RMS norm.
#[inline(always)]
fn unit<L: Simd>(l: L, x: &[f32], eps: f32, out: &mut [f32]) {
    let n = x.len() as f32;
    let (factor, gain) = (norm_factor(l, x, eps / n), 1.0 / n.sqrt());
    for (x, out) in x.iter().zip(out) {
        *out = x * factor * gain;
    }
}

/// One token of one head: what it asks, what it writes, and the values of its gates.
#[derive(Clone, Copy)]
pub(crate) struct DeltaToken<'a> {
    pub(crate) q: &'a [f32],
    pub(crate) k: &'a [f32],
    pub(crate) v: &'a [f32],
    pub(crate) alpha: f32,
    pub(crate) beta: f32,
    /// The head's own.
    pub(crate) bias: f32,
    pub(crate) rate: f32,
    /// Under the root of the lengths of query and key.
    pub(crate) eps: f32,
}

/// The gated delta rule. `state` is `[key element][value element]`, `out` as long as a value, and
/// `units` has room for a query and a key.
#[inline(always)]
pub(crate) fn delta_rule<L: Simd>(
    l: L,
    token: DeltaToken<'_>,
    state: &mut [f32],
    units: &mut [f32],
    out: &mut [f32],
) {
    let size = token.v.len();
    let (q, k) = units.split_at_mut(size);
    unit(l, token.q, token.eps, q);
    unit(l, token.k, token.eps, k);
    let rate = l.splat(token.rate);
    let alpha = l.splat(token.alpha + token.bias);
    let job = Job {
        q,
        k,
        v: token.v,
        decay: l.to_array(exp(l, l.mul(rate, softplus(l, alpha))))[0],
        share: l.to_array(sigmoid(l, l.splat(token.beta)))[0],
    };
    let blocks = size / LANES;
    let mut block = 0;
    while block < blocks {
        let first = block * LANES;
        // Registers for corrections and sums: four blocks and more where there are thirty-two.
        block += match (L::CHAINS, blocks - block) {
            (8.., 8..) => job.columns::<L, 8>(l, first, state, out),
            (8.., 4..) => job.columns::<L, 4>(l, first, state, out),
            (_, 2..) => job.columns::<L, 2>(l, first, state, out),
            _ => job.columns::<L, 1>(l, first, state, out),
        };
    }
    for column in blocks * LANES..size {
        job.column(column, state, out);
    }
}

/// A token with its query and key of length 1.
#[derive(Clone, Copy)]
struct Job<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    decay: f32,
    share: f32,
}

impl Job<'_> {
    /// `N` blocks of 16 value elements, from `first` on: each is a recurrence of its own.
    #[inline(always)]
    fn columns<L: Simd, const N: usize>(
        &self,
        l: L,
        first: usize,
        state: &mut [f32],
        out: &mut [f32],
    ) -> usize {
        let size = self.v.len();
        let part = first..first + N * LANES;
        let decay = l.splat(self.decay);
        let mut held = [l.splat(0.0); N];
        for (k, row) in self.k.iter().zip(state.chunks_exact(size)) {
            let k = l.splat(*k);
            let (row, _) = row[part.clone()].as_chunks::<LANES>();
            for (held, m) in held.iter_mut().zip(row) {
                *held = l.fma(k, l.mul(l.load(m), decay), *held);
            }
        }
        let share = l.splat(self.share);
        let (values, _) = self.v[part.clone()].as_chunks::<LANES>();
        let mut corrections = held;
        for (correction, value) in corrections.iter_mut().zip(values) {
            *correction = l.mul(share, l.sub(l.load(value), *correction));
        }
        let mut sums = [l.splat(0.0); N];
        let rows = state.chunks_exact_mut(size);
        for ((q, k), row) in self.q.iter().zip(self.k).zip(rows) {
            let (q, k) = (l.splat(*q), l.splat(*k));
            let (row, _) = row[part.clone()].as_chunks_mut::<LANES>();
            for ((m, correction), sum) in row.iter_mut().zip(&corrections).zip(&mut sums) {
                let corrected = l.fma(k, *correction, l.mul(l.load(m), decay));
                l.store(corrected, m);
                *sum = l.fma(q, corrected, *sum);
            }
        }
        let scale = l.splat(1.0 / (size as f32).sqrt());
        let (out, _) = out[part].as_chunks_mut::<LANES>();
        for (sum, out) in sums.into_iter().zip(out) {
            l.store(l.mul(sum, scale), out);
        }
        N
    }

    /// A value element behind the last whole block.
    #[inline(always)]
    fn column(&self, column: usize, state: &mut [f32], out: &mut [f32]) {
        let size = self.v.len();
        let mut held = 0.0_f32;
        for (k, row) in self.k.iter().zip(state.chunks_exact(size)) {
            held = k.mul_add(row[column] * self.decay, held);
        }
        let correction = self.share * (self.v[column] - held);
        let mut sum = 0.0_f32;
        let rows = state.chunks_exact_mut(size);
        for ((q, k), row) in self.q.iter().zip(self.k).zip(rows) {
            let corrected = k.mul_add(correction, row[column] * self.decay);
            row[column] = corrected;
            sum = q.mul_add(corrected, sum);
        }
        out[column] = sum * (1.0 / (size as f32).sqrt());
    }
}
