//! Elementwise functions, norms and reductions.

use crate::candidate::Candidate;
use crate::order::{LANES, finite_or_nan, fold};
use crate::program::Activation;

/// `e^x`. Maximum error 2 ULP on `[-87, 88]`; smaller and larger arguments are clamped to that
/// range, and NaN stays NaN. The polynomial is Cephes' `expf`, evaluated with fused multiply-adds.
pub fn exp(x: f32) -> f32 {
    let x = if x > 88.0 { 88.0 } else { x };
    let x = if x < -87.0 { -87.0 } else { x };
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let mut p = 1.987_569_1e-4_f32;
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = p.mul_add(r, c);
    }
    let p = p.mul_add(r * r, r) + 1.0;
    p * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// The dot product of two f32 rows in the order of [`crate::order`].
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        lanes[i % LANES] = a.mul_add(*b, lanes[i % LANES]);
    }
    fold(lanes)
}

/// The sum of squares of a row: squares in f32, summed in f64.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    let mut lanes = [0.0; LANES];
    for (i, x) in x.iter().enumerate() {
        lanes[i % LANES] += f64::from(x * x);
    }
    fold(lanes)
}

/// RMS norm of a row: `x / sqrt(mean(x^2) + eps) * gain`. NaN where the mean is not finite.
pub fn norm(x: &[f32], gain: &[f32], eps: f32) -> Vec<f32> {
    let mean = finite_or_nan((sum_of_squares(x) / x.len() as f64) as f32);
    let scale = 1.0 / (mean + eps).sqrt();
    x.iter()
        .zip(gain)
        .map(|(x, gain)| x * scale * gain)
        .collect()
}

/// The gate's activation function.
pub fn activate(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => x / (1.0 + exp(-x)),
        Activation::Sigmoid => 1.0 / (1.0 + exp(-x)),
        Activation::Relu2 => {
            // What is no number, or not finite, times 0 is NaN.
            let x = if x > 0.0 { x } else { x * 0.0 };
            x * x
        }
    }
}

/// `activation(gate) * up`. With squared ReLU, a zero is positive whatever the sign of the factor,
/// so that a factor need not be known where the gate is not above 0 but for its being finite.
pub fn gated(activation: Activation, gate: f32, up: f32) -> f32 {
    let y = activate(activation, gate) * up;
    match activation {
        Activation::Silu | Activation::Sigmoid => y,
        // The sum of zeros of either sign is positive; nothing else is changed.
        Activation::Relu2 => y + 0.0,
    }
}

/// `x` rounded to binary16, ties to even.
pub fn round_f16(x: f32) -> f32 {
    half::f16::from_f32(x).to_f32()
}

/// The `k` best of a row of logits, in the order of [`Candidate::best_first`].
pub fn top(logits: &[f32], k: usize) -> Vec<Candidate> {
    let mut all: Vec<Candidate> = (0..)
        .zip(logits)
        .map(|(id, logit)| Candidate::new(id, *logit))
        .collect();
    all.sort_by(Candidate::best_first);
    all.truncate(k);
    all
}

/// The id of the largest logit, the lowest among equals.
pub fn argmax(logits: &[f32]) -> u32 {
    top(logits, 1)[0].id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
        let mut x = -87.0_f32;
        while x < 88.0 {
            let exact = f64::from(x).exp();
            let ulp = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
            assert!((f64::from(exp(x)) - exact).abs() <= 2.0 * ulp, "exp({x})");
            x += 0.003_717;
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(1e30).is_finite());
        assert!(exp(f32::NAN).is_nan() && exp(-f32::NAN).is_nan());
    }

    #[test]
    fn damage_gets_through_norms_and_activations() {
        for damage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e20] {
            let normed = norm(&[1.0, damage, 2.0], &[1.0; 3], 1e-5);
            assert!(normed.iter().all(|x| x.is_nan()), "{damage}: {normed:?}");
        }
        for damage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for activation in [Activation::Silu, Activation::Relu2] {
                let y = activate(activation, damage);
                assert!(!y.is_finite(), "{activation:?} of {damage} is {y}");
            }
        }
        for (x, wanted) in [(-3.0_f32, 0.0_f32), (-0.0, 0.0), (0.0, 0.0), (3.0, 9.0)] {
            let y = activate(Activation::Relu2, x);
            assert_eq!(y.to_bits(), wanted.to_bits(), "{x}");
        }
    }

    #[test]
    fn a_factor_does_not_matter_where_the_gate_is_not_above_zero() {
        for gate in [-3.0, -f32::MIN_POSITIVE, -0.0, 0.0] {
            for up in [-f32::MAX, -2.0, -0.0, 0.0, 1e-40, 3.0] {
                let y = gated(Activation::Relu2, gate, up);
                assert_eq!(y.to_bits(), 0, "{gate}, {up}");
            }
            assert!(gated(Activation::Relu2, gate, f32::NAN).is_nan());
        }
        assert_eq!(gated(Activation::Relu2, 3.0, -2.0), -18.0);
    }

    #[test]
    fn top_prefers_lower_ids_and_shows_damage_first() {
        let ids = |logits: &[f32]| -> Vec<u32> { top(logits, 3).iter().map(|c| c.id).collect() };
        assert_eq!(ids(&[1.0, -5.0, 3.0, 3.0, -0.0, 0.0]), [2, 3, 0]);
        let damaged = [1.0, f32::NAN, 3.0, f32::INFINITY, f32::NEG_INFINITY];
        assert_eq!(ids(&damaged), [1, 3, 4]);
        assert!(top(&damaged, 3).iter().all(|c| c.logit.is_nan()));
        assert_eq!(argmax(&[-0.0, 0.0]), 0);
    }
}
