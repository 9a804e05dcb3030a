//! Causal attention of one query head over cached keys and values.

use super::math::{exp, round_f16};
use crate::order::{LANES, fold};

/// Attention of a query over the keys it may see; `keys` and `values` are `[n, head_dim]`, `n >=
/// 1`. With `round_weights`, softmax weights are rounded to binary16.
pub fn attention(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    scale: f32,
    round_weights: bool,
) -> Vec<f32> {
    let dim = q.len();
    let score = |key: &[f32]| {
        q.iter()
            .zip(key)
            .fold(0.0_f32, |s, (q, k)| q.mul_add(*k, s))
            * scale
    };
    let scores: Vec<f32> = keys.chunks(dim).map(score).collect();
    let max = scores
        .iter()
        .fold(f32::NEG_INFINITY, |max, s| if *s > max { *s } else { max });
    let mut weights: Vec<f32> = scores.iter().map(|s| exp(s - max)).collect();
    let mut lanes = [0.0; LANES];
    for (i, p) in weights.iter().enumerate() {
        lanes[i % LANES] += p;
    }
    let mut sum = fold(lanes);
    if round_weights {
        for p in &mut weights {
            *p = round_f16(*p * (1.0 / sum));
        }
        sum = 1.0;
    }
    let mut out = vec![0.0_f32; dim];
    for (p, value) in weights.iter().zip(values.chunks(dim)) {
        for (out, v) in out.iter_mut().zip(value) {
            *out = p.mul_add(*v, *out);
        }
    }
    out.iter().map(|out| out / sum).collect()
}
