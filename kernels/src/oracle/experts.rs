//! A mixture of experts: who computes a token, and how their results become one.

use super::math::{exp, top};
use crate::candidate::Candidate;

/// The experts of a token by the router's logits, the likeliest first and of equals the lower
/// number, with their [`shares`].
pub fn route(logits: &[f32], used: usize) -> Vec<(u32, f32)> {
    let taken = top(logits, used);
    let mut parts = vec![0.0; used];
    shares(logits, &taken, &mut parts);
    taken.iter().map(|expert| expert.id).zip(parts).collect()
}

/// How much each of the best of a router's logits counts: the softmax over all experts, divided by
/// the sum over those that are taken, which is the softmax over these alone. Where a logit is no
/// number or the largest is infinite, all shares are NaN: what is broken must show.
///
/// # Panics
/// If none is taken.
pub fn shares(logits: &[f32], taken: &[Candidate], shares: &mut [f32]) {
    let largest = taken[0].logit;
    let sound = largest.is_finite() && !logits.iter().any(|logit| logit.is_nan());
    let mut sum = 0.0;
    for (share, expert) in shares.iter_mut().zip(taken) {
        *share = match sound {
            true => exp(expert.logit - largest),
            false => f32::NAN,
        };
        sum += *share;
    }
    for share in shares {
        *share /= sum;
    }
}

/// A gate bounded from above, and its factor on both sides. A NaN stays one.
pub fn clamped(gate: f32, up: f32, limit: f32) -> (f32, f32) {
    let below = |x: f32, limit: f32| if x > limit { limit } else { x };
    (below(gate, limit), -below(-below(up, limit), limit))
}

/// The sum of the experts' rows, each times its share, in their order.
pub fn mix(rows: &[&[f32]], shares: &[f32]) -> Vec<f32> {
    let mut sum = vec![0.0; rows[0].len()];
    for (index, (row, share)) in rows.iter().zip(shares).enumerate() {
        for (sum, x) in sum.iter_mut().zip(*row) {
            let part = x * share;
            *sum = if index == 0 { part } else { *sum + part };
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likeliest_experts_are_taken_and_their_shares_make_one() {
        let logits = [0.5, 2.0, -1.0, 2.0, -40.0, 1.0];
        let taken = route(&logits, 3);
        assert_eq!(
            taken.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            [1, 3, 5]
        );
        assert_eq!(taken[0].1, taken[1].1);
        let sum: f32 = taken.iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        let softmax: Vec<f64> = logits.iter().map(|l| f64::from(*l).exp()).collect();
        let renormalised = softmax[5] / (softmax[1] + softmax[3] + softmax[5]);
        assert!((f64::from(taken[2].1) - renormalised).abs() < 1e-7);
        assert_eq!(route(&[3.0], 1), [(0, 1.0)]);
    }

    #[test]
    fn a_router_that_is_broken_breaks_its_shares() {
        for logits in [
            [f32::NAN, 1.0, 2.0],
            [f32::INFINITY, 1.0, 2.0],
            [f32::NAN; 3],
        ] {
            assert!(route(&logits, 2).iter().all(|(_, share)| share.is_nan()));
        }
    }

    #[test]
    fn a_gate_is_bounded_from_above_and_its_factor_on_both_sides() {
        assert_eq!(clamped(9.0, 9.0, 7.0), (7.0, 7.0));
        assert_eq!(clamped(-9.0, -9.0, 7.0), (-9.0, -7.0));
        assert_eq!(clamped(6.5, -6.5, 7.0), (6.5, -6.5));
        let (gate, up) = clamped(f32::NAN, f32::NAN, 7.0);
        assert!(gate.is_nan() && up.is_nan());
    }
}
