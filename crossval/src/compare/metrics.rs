//! How far two rows of numbers are apart, in measures that mean something.
//!
//! All sums are in f64. "Theirs" is the reference, "ours" the engine.

use bitnet_kernels::Candidate;
use serde::{Deserialize, Serialize};

/// The distance of what is not a number: further than any threshold, and still a number in JSON.
pub(crate) const FAR: f64 = 1e300;

/// The distance of one row of logits from the reference's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogitsDistance {
    /// Mean squared error.
    pub mse: f64,
    /// Mean squared error over the variance of the reference's row.
    pub nmse: f64,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Cosine of the angle between the rows.
    pub cosine: f64,
    /// Kullback-Leibler divergence of our softmax from theirs, in nats.
    pub kl: f64,
    /// Share of the reference's five best tokens that are among our five best.
    pub top5: f64,
    /// Our five best tokens, best first.
    pub top5_ours: Vec<u32>,
    /// The reference's five best tokens, best first.
    pub top5_theirs: Vec<u32>,
    /// By how much the reference prefers its best token to our best token: 0 when they agree.
    pub argmax_gap: f64,
    /// By how much the reference prefers its fifth best token to the worst that it finds among our
    /// five best: 0 when the five are the same.
    pub top5_gap: f64,
}

impl LogitsDistance {
    /// Whether both choose the same token.
    pub(crate) fn same_choice(&self) -> bool {
        self.top5_ours.first() == self.top5_theirs.first()
    }

    /// Compares two rows of the same length. A value that is not finite on our side only makes
    /// every measure as far as can be, so that no threshold lets it pass.
    pub fn between(ours: &[f32], theirs: &[f32]) -> Self {
        let vector = VectorDistance::between(ours, theirs);
        let top5_ours = best(ours, 5);
        let top5_theirs = best(theirs, 5);
        let shared = top5_theirs.iter().filter(|t| top5_ours.contains(t)).count();
        let value = |token: Option<&u32>| token.map_or(0.0, |t| f64::from(theirs[*t as usize]));
        let fifth = value(top5_theirs.last());
        let strangers = top5_ours.iter().filter(|t| !top5_theirs.contains(t));
        let top5_gap = strangers
            .map(|t| fifth - value(Some(t)))
            .fold(0.0, f64::max);
        let finite = vector.mse < FAR;
        Self {
            mse: vector.mse,
            nmse: vector.nmse,
            max_abs: vector.max_abs,
            cosine: vector.cosine,
            kl: if finite {
                divergence(ours, theirs)
            } else {
                FAR
            },
            top5: shared as f64 / top5_theirs.len().max(1) as f64,
            argmax_gap: value(top5_theirs.first()) - value(top5_ours.first()),
            top5_gap,
            top5_ours,
            top5_theirs,
        }
    }
}

/// The distance of one vector, such as a row of the residual stream, from the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VectorDistance {
    /// Mean squared error.
    pub mse: f64,
    /// Mean squared error over the variance of the reference's vector.
    pub nmse: f64,
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Cosine of the angle between them.
    pub cosine: f64,
}

impl VectorDistance {
    /// Compares two vectors of the same length; as far as can be apart when ours is not finite or
    /// the lengths differ.
    pub fn between(ours: &[f32], theirs: &[f32]) -> Self {
        if ours.len() != theirs.len() || ours.iter().any(|value| !value.is_finite()) {
            return Self {
                mse: FAR,
                nmse: FAR,
                max_abs: FAR,
                cosine: -1.0,
            };
        }
        let count = ours.len().max(1) as f64;
        let pairs = || {
            ours.iter()
                .zip(theirs)
                .map(|(o, t)| (f64::from(*o), f64::from(*t)))
        };
        let mse = pairs().map(|(o, t)| (o - t).powi(2)).sum::<f64>() / count;
        let mean = pairs().map(|(_, t)| t).sum::<f64>() / count;
        let variance = pairs().map(|(_, t)| (t - mean).powi(2)).sum::<f64>() / count;
        let dot: f64 = pairs().map(|(o, t)| o * t).sum();
        let norms = norm(ours) * norm(theirs);
        Self {
            mse,
            nmse: ratio(mse, variance),
            max_abs: pairs().map(|(o, t)| (o - t).abs()).fold(0.0, f64::max),
            cosine: if norms > 0.0 {
                dot / norms
            } else {
                f64::from(u8::from(mse == 0.0))
            },
        }
    }
}

/// The Euclidean norm.
pub(crate) fn norm(values: &[f32]) -> f64 {
    values
        .iter()
        .map(|v| f64::from(*v).powi(2))
        .sum::<f64>()
        .sqrt()
}

/// `a / b`, where nothing over nothing is nothing.
fn ratio(a: f64, b: f64) -> f64 {
    if a == 0.0 { 0.0 } else { a / b }
}

/// The ids of the `count` best logits of a row, best first.
fn best(row: &[f32], count: usize) -> Vec<u32> {
    let mut found = Vec::new();
    Candidate::best_of(row, count, &mut found);
    found.iter().map(|candidate| candidate.id).collect()
}

/// KL(theirs || ours) of the softmax distributions, in nats.
fn divergence(ours: &[f32], theirs: &[f32]) -> f64 {
    let (ours_log, theirs_log) = (log_sum_exp(ours), log_sum_exp(theirs));
    ours.iter()
        .zip(theirs)
        .map(|(o, t)| {
            let theirs = f64::from(*t) - theirs_log;
            theirs.exp() * (theirs - (f64::from(*o) - ours_log))
        })
        .sum::<f64>()
        .max(0.0)
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let max = row
        .iter()
        .map(|v| f64::from(*v))
        .fold(f64::NEG_INFINITY, f64::max);
    max + row
        .iter()
        .map(|v| (f64::from(*v) - max).exp())
        .sum::<f64>()
        .ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_at_distance_zero() {
        let row = [0.5, -1.0, 3.0, 2.0, 0.0, 1.0];
        let distance = LogitsDistance::between(&row, &row);
        assert_eq!(
            (distance.mse, distance.nmse, distance.max_abs),
            (0.0, 0.0, 0.0)
        );
        assert!((distance.cosine - 1.0).abs() < 1e-12);
        assert_eq!(distance.kl, 0.0);
        assert_eq!(distance.top5, 1.0);
        assert!(distance.same_choice());
        assert_eq!(distance.top5_theirs, [2, 3, 5, 0, 4]);
    }

    #[test]
    fn each_measure_is_what_it_says() {
        let theirs = [0.0, 2.0];
        let ours = [1.0, 1.0];
        let distance = LogitsDistance::between(&ours, &theirs);
        assert_eq!(distance.mse, 1.0);
        assert_eq!(distance.nmse, 1.0); // the variance of 0, 2 is 1
        assert_eq!(distance.max_abs, 1.0);
        assert!((distance.cosine - 2.0 / (2.0 * 2f64.sqrt())).abs() < 1e-12);
        let p = 1.0 / (1.0 + (-2f64).exp());
        let kl = p * (p / 0.5).ln() + (1.0 - p) * ((1.0 - p) / 0.5).ln();
        assert!((distance.kl - kl).abs() < 1e-12);
        // Ours ties and the lower id wins; the reference prefers token 1 by 2.
        assert!(!distance.same_choice());
        assert_eq!(distance.argmax_gap, 2.0);
    }

    #[test]
    fn the_top_five_part_by_as_much_as_the_reference_minds() {
        let theirs = [9.0, 8.0, 7.0, 6.0, 5.0, 4.5, 1.0];
        let mut ours = theirs;
        (ours[4], ours[5]) = (4.5, 5.0);
        let distance = LogitsDistance::between(&ours, &theirs);
        assert_eq!((distance.top5, distance.top5_gap), (0.8, 0.5));
        assert_eq!(LogitsDistance::between(&theirs, &theirs).top5_gap, 0.0);
    }

    #[test]
    fn a_shift_of_all_logits_changes_no_probability() {
        let theirs: Vec<f32> = (0..32).map(|i| (i as f32 * 0.37).sin()).collect();
        let ours: Vec<f32> = theirs.iter().map(|v| v + 1.0).collect();
        let distance = LogitsDistance::between(&ours, &theirs);
        assert!(distance.kl < 1e-9, "{}", distance.kl);
        assert!(distance.mse > 0.99);
    }

    #[test]
    fn a_nan_or_a_missing_value_is_further_than_any_threshold() {
        let distance = LogitsDistance::between(&[f32::NAN, 1.0], &[0.0, 1.0]);
        assert!(distance.mse == FAR && distance.kl == FAR);
        assert_eq!(VectorDistance::between(&[1.0], &[1.0, 2.0]).nmse, FAR);
    }
}
