//! Causal attention of one query head over cached keys and values.

use super::math::{exp, round_f16};
use crate::order::{LANES, fold};

/// Attention of a query over the keys up to its position; `keys` and `values` are `[n, head_dim]`
/// from position 0 on, `n >= 1`. It sees the last `window` of them, all where there is none. With
/// `round_weights`, softmax weights are rounded to binary16. Where a score is not finite, the
/// result is NaN.
pub fn attention(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    scale: f32,
    window: Option<usize>,
    round_weights: bool,
) -> Vec<f32> {
    let dim = q.len();
    let count = keys.len() / dim;
    let first = count - window.map_or(count, |window| window.min(count));
    let (keys, values) = (&keys[first * dim..], &values[first * dim..]);
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
        lanes[(first + i) % LANES] += p;
    }
    let finite = scores.iter().all(|score| score.is_finite());
    let mut sum = if finite { fold(lanes) } else { f32::NAN };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_of_a_visible_key_or_value_gets_through() {
        let q = [0.5, -0.25];
        for damage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for round_weights in [false, true] {
                let of = |keys: &[f32], values: &[f32]| {
                    attention(&q, keys, values, 0.5, Some(2), round_weights)
                };
                let fine = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
                for at in 0..6 {
                    let mut damaged = fine;
                    damaged[at] = damage;
                    let visible = at >= 2;
                    let out = of(&damaged, &fine);
                    assert_eq!(out.iter().all(|x| x.is_nan()), visible, "{out:?}");
                    assert_eq!(out.iter().all(|x| x.is_finite()), !visible, "{out:?}");
                    let out = of(&fine, &damaged);
                    assert_eq!(!out[at % 2].is_finite(), visible, "{out:?}");
                    assert!(out[1 - at % 2].is_finite(), "{out:?}");
                }
            }
        }
    }

    #[test]
    fn what_lies_before_the_window_does_not_matter() {
        let dim = 4;
        let keys: Vec<f32> = (0..40 * dim).map(|i| (i as f32 * 0.37).sin()).collect();
        let values: Vec<f32> = (0..40 * dim).map(|i| (i as f32 * 0.73).cos()).collect();
        let q = [0.5, -0.25, 1.0, 2.0];
        for round_weights in [false, true] {
            let of = |keys: &[f32], values: &[f32], window| {
                attention(&q, keys, values, 0.5, window, round_weights)
            };
            let (mut other_keys, mut other_values) = (keys.clone(), values.clone());
            other_keys[..33 * dim].fill(9.0);
            other_values[..33 * dim].fill(f32::INFINITY);
            let windowed = of(&keys, &values, Some(7));
            assert_eq!(windowed, of(&other_keys, &other_values, Some(7)));
            assert_ne!(windowed, of(&keys, &values, Some(8)));
            assert_eq!(of(&keys, &values, Some(99)), of(&keys, &values, None));
        }
    }
}
