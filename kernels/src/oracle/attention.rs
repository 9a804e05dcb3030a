//! Causal attention of one query head over cached keys and values.

use super::math::exp;
use crate::order::{LANES, SPAN, fold};

/// The softmax of one span, or of several merged: maximum, sum of weights, weighted values.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanState {
    /// The largest score.
    pub max: f32,
    /// Sum of `exp(score - max)`.
    pub sum: f32,
    /// Sum of `exp(score - max) * value`, per element of the head.
    pub values: Vec<f32>,
}

/// One span: `keys` and `values` are `[n, head_dim]` with `n <= SPAN`.
pub fn span_softmax(q: &[f32], keys: &[f32], values: &[f32], scale: f32) -> SpanState {
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
    let weights: Vec<f32> = scores.iter().map(|s| exp(s - max)).collect();
    let mut lanes = [0.0; LANES];
    for (i, p) in weights.iter().enumerate() {
        lanes[i % LANES] += p;
    }
    let mut sums = vec![0.0_f32; dim];
    for (p, value) in weights.iter().zip(values.chunks(dim)) {
        for (sum, v) in sums.iter_mut().zip(value) {
            *sum = p.mul_add(*v, *sum);
        }
    }
    SpanState {
        max,
        sum: fold(lanes),
        values: sums,
    }
}

/// Merges the next span into `state`.
pub fn merge_span(state: &mut SpanState, next: &SpanState) {
    let max = if next.max > state.max {
        next.max
    } else {
        state.max
    };
    let (keep, take) = (exp(state.max - max), exp(next.max - max));
    state.max = max;
    state.sum = state.sum.mul_add(keep, next.sum * take);
    for (value, next) in state.values.iter_mut().zip(&next.values) {
        *value = value.mul_add(keep, next * take);
    }
}

/// Attention of a query over positions `0 .. n`; `keys` and `values` are `[n, head_dim]`, `n >= 1`.
pub fn attention(q: &[f32], keys: &[f32], values: &[f32], scale: f32) -> Vec<f32> {
    let span = SPAN * q.len();
    let mut spans = keys
        .chunks(span)
        .zip(values.chunks(span))
        .map(|(k, v)| span_softmax(q, k, v, scale));
    let mut state = spans.next().expect("attention has at least one key");
    for next in spans {
        merge_span(&mut state, &next);
    }
    state.values.iter().map(|value| value / state.sum).collect()
}
