//! The one order of every float reduction, so that the same bits come out on every CPU; and what
//! becomes of values that are not finite.
//!
//! Integer sums are exact and need no order. Float sums are defined over [`LANES`] virtual SIMD
//! lanes, whatever the width of the machine's registers:
//!
//! - **Dot product** of `n` values: lane `j` starts at 0 and takes `fma(a[i], b[i], lane[j])` for
//!   `i = j, j + 16, j + 32, ...` in turn. Then lanes fold in halves: `j += j + 8`, `j += j + 4`,
//!   `j += j + 2`, `j += j + 1` ([`fold`]).
//! - **Sum of squares**: `x * x` rounded to f32, then added in f64 over the same lanes and fold.
//! - **Products of blocks** (`TQ1_0`, `TQ2_0`, `Q6_K`, and every format without an order of its
//!   own): piece after piece that has one scale on either side, `sum = fma(d_weight * d_activation,
//!   integer, sum)`. A block of weights that meets several scales of activations (`Q2_0`, `Q1_0`)
//!   adds
//!   up `inner = fma(d_activation, integer, inner)` from 0, then `sum = fma(d_weight, inner, sum)`,
//!   as
//!   ggml nests them. Where groups have minima (`Q4_K`, `Q5_K`), the same with `-(d_minimum *
//!   d_activation)` and their integer follows, piece by piece.
//! - **`Q8_0`**: within a block of 32, lane `j < 8` has the integer sum of elements `4j .. 4j + 4`;
//!   block `b` adds `fma(d_weight * d_activation, integer, lane[(b % 2) * 8 + j])`; then the fold.
//! - **Attention scores**: one chain per key, `s = fma(q[d], k[d], s)` for `d = 0, 1, 2, ...` from
//!   0, then `s * scale`.
//! - **Softmax and weighted values**: the maximum over all visible keys, `p = exp(s - max)`, the
//!   sum of `p` over the lanes (the key at position `i` in lane `i % 16`) and the fold, then `a[d]
//!   = fma(p, v[d], a[d])` key after key from 0; the result is `a[d] / sum`. Where weights are
//!   rounded, `p` becomes `f16(p * (1 / sum))` before it meets a value, and the result is `a[d]`.
//!
//! - **Causal convolution**: one chain per channel, `s = fma(w[j], x[t - columns + 1 + j], s)` for
//!   `j = 0, 1, 2, ...` from 0.
//! - **Delta rule**: the state is decayed, `m = m * decay`; then one chain per value element over
//!   the
//!   key's, `s[j] = fma(k[i], m[i][j], s[j])` for `i = 0, 1, 2, ...` from 0; the correction `c[j] =
//!   share * (v[j] - s[j])` and `m[i][j] = fma(k[i], c[j], m[i][j])`; the result `o[j] = fma(q[i],
//!   m[i][j], o[j])` in the same order, times `1 / sqrt(size)`. Tokens follow one another.
//!
//! None of these depends on how many threads share the work or how a prompt is cut into batches.
//!
//! # Values that are not finite
//!
//! A NaN or an infinity comes from damage: of a scale, a gain, a weight, or a sum beyond the range
//! of f32. It must reach the logits, where whoever chooses a token refuses it, on every instruction
//! set alike. IEEE arithmetic hands a NaN on by itself; these rules are for what does not:
//!
//! - **Encodings**: values of which one is not finite encode, as far as they share a scale, to
//!   zeros with the scale NaN.
//! - **Products**: a result that is not finite is NaN ([`finite_or_nan`]).
//! - **Norms**: a row whose mean square is not finite becomes NaN, instead of being scaled by 0.
//! - **Activations**: `exp` of NaN is NaN in spite of its clamp, squared ReLU of NaN and of
//!   negative infinity are NaN.
//! - **Attention**: where a score of a visible key is not finite, the result is NaN.
//! - **Candidates**: a logit that is not finite comes before all others
//!   ([`Candidate`](crate::Candidate)).
//!
//! Sign and payload of a NaN mean nothing, and may differ from one instruction set to another;
//! among the logits that a forward pass gives back there is one NaN alone ([`NAN`]).

/// Virtual SIMD lanes of a float reduction.
pub const LANES: usize = 16;

/// The NaN of logits: positive and quiet, without a payload.
pub const NAN: f32 = f32::from_bits(0x7fc0_0000);

/// `x` where it is finite, [`NAN`] where it is not: what ends every product.
pub fn finite_or_nan(x: f32) -> f32 {
    if x.is_finite() { x } else { NAN }
}

/// Folds the lanes of a reduction in halves: 8, 4, 2, 1.
pub fn fold<T: Copy + std::ops::Add<Output = T>>(mut lanes: [T; LANES]) -> T {
    let mut half = LANES / 2;
    while half > 0 {
        for j in 0..half {
            lanes[j] = lanes[j] + lanes[j + half];
        }
        half /= 2;
    }
    lanes[0]
}
