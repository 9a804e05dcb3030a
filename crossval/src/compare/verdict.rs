//! From distances to a verdict.
//!
//! The references do not agree with themselves to the bit: fed one token at a time they give other
//! logits than fed a batch. So the measure of parity is the reference's own distance to itself,
//! taken in the same run, or thresholds where those are wider. A run passes when its mean is no
//! further from the reference than that, no position is further than [`POSITION_SLACK`] times the
//! furthest, and no part of the model computes something else.

use serde::{Deserialize, Serialize};

use super::layers::PartFinding;
use super::metrics::LogitsDistance;
use super::trajectory::Trajectory;

/// By how much one position may exceed the furthest of the reference's own: the largest of a few
/// dozen values that differ tenfold among themselves is not known any better.
pub(crate) const POSITION_SLACK: f64 = 2.0;

/// Distances that pass whatever the reference does to itself, but for those given by hand, which
/// are hard limits: the reference's own distance does not widen them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// Largest mean squared error of a row, and of the mean over rows.
    pub mse: f64,
    /// Largest Kullback-Leibler divergence of a row, in nats.
    pub kl: f64,
    /// Smallest share of the five best tokens in common.
    pub topk: f64,
    /// Smallest cosine. Absent in receipts of schema v1.
    #[serde(default = "Thresholds::default_cosine")]
    pub cosine: f64,
    /// Which of them are hard limits.
    #[serde(default, skip_serializing_if = "HardLimits::is_empty")]
    pub hard: HardLimits,
}

/// Which thresholds were given by hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardLimits {
    /// [`Thresholds::mse`].
    pub mse: bool,
    /// [`Thresholds::kl`].
    pub kl: bool,
    /// [`Thresholds::topk`]; then a near tie excuses nothing.
    pub topk: bool,
    /// [`Thresholds::cosine`].
    pub cosine: bool,
}

impl HardLimits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Thresholds {
    const fn default_cosine() -> f64 {
        0.999
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            mse: 1e-4,
            kl: 0.1,
            topk: 0.8,
            cosine: Self::default_cosine(),
            hard: HardLimits::default(),
        }
    }
}

/// The distance between two runs, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Mean over rows of the mean squared error.
    pub mean_mse: f64,
    /// The largest mean squared error of a row.
    pub max_mse: f64,
    /// Mean over rows of the MSE over the variance of the reference.
    pub mean_nmse: f64,
    /// The smallest cosine.
    pub min_cosine: f64,
    /// Mean over rows of the divergence.
    pub mean_kl: f64,
    /// The largest divergence.
    pub max_kl: f64,
    /// The smallest share of common best tokens.
    pub min_top5: f64,
}

impl Spread {
    /// No distance at all.
    pub const ZERO: Self = Self {
        mean_mse: 0.0,
        max_mse: 0.0,
        mean_nmse: 0.0,
        min_cosine: 1.0,
        mean_kl: 0.0,
        max_kl: 0.0,
        min_top5: 1.0,
    };

    /// Sums up rows.
    pub fn of(rows: &[LogitsDistance]) -> Self {
        let count = rows.len().max(1) as f64;
        rows.iter().fold(Self::ZERO, |sum, row| Self {
            mean_mse: sum.mean_mse + row.mse / count,
            max_mse: sum.max_mse.max(row.mse),
            mean_nmse: sum.mean_nmse + row.nmse / count,
            min_cosine: sum.min_cosine.min(row.cosine),
            mean_kl: sum.mean_kl + row.kl / count,
            max_kl: sum.max_kl.max(row.kl),
            min_top5: sum.min_top5.min(row.top5),
        })
    }

    /// The wider of two, measure by measure.
    pub fn wider(self, other: Self) -> Self {
        Self {
            mean_mse: self.mean_mse.max(other.mean_mse),
            max_mse: self.max_mse.max(other.max_mse),
            mean_nmse: self.mean_nmse.max(other.mean_nmse),
            min_cosine: self.min_cosine.min(other.min_cosine),
            mean_kl: self.mean_kl.max(other.mean_kl),
            max_kl: self.max_kl.max(other.max_kl),
            min_top5: self.min_top5.min(other.min_top5),
        }
    }
}

/// The distance of each row of `ours` from that of `theirs`, over the rows that both have.
pub(crate) fn distances(ours: &Trajectory, theirs: &Trajectory) -> Vec<LogitsDistance> {
    (0..ours.rows().min(theirs.rows()))
        .map(|row| LogitsDistance::between(ours.logits(row), theirs.logits(row)))
        .collect()
}

/// What was found about one run against one reference.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Per row, whether it is within bounds.
    pub rows: Vec<bool>,
    /// Per row, whether a differing choice was a near tie.
    pub near_ties: Vec<bool>,
    /// The first row out of bounds.
    pub first_divergence: Option<usize>,
    /// What failed, in words; empty for a pass.
    pub reasons: Vec<String>,
}

impl Verdict {
    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Judges `rows` by the reference's `own` distance or the `thresholds`, whichever is wider, or
    /// by the hard limits among these alone; and by the part of the model that was found to compute
    /// something else.
    pub fn of(
        rows: &[LogitsDistance],
        own: Spread,
        thresholds: Thresholds,
        part: Option<&PartFinding>,
    ) -> Self {
        let bound = bound(own, thresholds);
        let (tie, top5_tie) = (near_tie_gap(bound.mean_mse), top5_tie(&bound, thresholds));
        let near = |row: &LogitsDistance| !row.same_choice() && row.argmax_gap <= tie;
        let mut reasons = Vec::new();
        let mut within = Vec::with_capacity(rows.len());
        for (position, row) in rows.iter().enumerate() {
            let failed = complaints(row, &bound, tie, top5_tie);
            within.push(failed.is_empty());
            if !failed.is_empty() && within.iter().filter(|ok| !**ok).count() == 1 {
                reasons.push(format!("position {position}: {}", failed.join(", ")));
            }
        }
        let mean = Spread::of(rows).mean_mse;
        if mean > bound.mean_mse {
            let bound = bound.mean_mse;
            reasons.push(format!("mean MSE {mean:.2e} is above {bound:.2e}"));
        }
        reasons.extend(part.map(ToString::to_string));
        Self {
            first_divergence: within.iter().position(|ok| !ok),
            near_ties: rows.iter().map(near).collect(),
            rows: within,
            reasons,
        }
    }
}

#[expect(
    clippy::neg_cmp_op_on_partial_ord,
    reason = "a value that is not a number must fail, and only the negated comparison does that"
)]
fn complaints(row: &LogitsDistance, bound: &Spread, tie: f64, top5_tie: f64) -> Vec<String> {
    let mut failed = Vec::new();
    if !(row.mse <= bound.max_mse) {
        failed.push(format!(
            "MSE {:.2e} is above {:.2e}",
            row.mse, bound.max_mse
        ));
    }
    if !(row.cosine >= bound.min_cosine) {
        failed.push(format!(
            "cosine {:.6} is below {:.6}",
            row.cosine, bound.min_cosine
        ));
    }
    if !(row.kl <= bound.max_kl) {
        failed.push(format!("KL {:.2e} is above {:.2e}", row.kl, bound.max_kl));
    }
    if !(row.top5 >= bound.min_top5 || row.top5_gap <= top5_tie) {
        failed.push(format!(
            "top-5 agreement {:.1} is below {:.1}, and no near tie (the reference prefers its fifth by {:.3})",
            row.top5, bound.min_top5, row.top5_gap
        ));
    }
    if !row.same_choice() && !(row.argmax_gap <= tie) {
        failed.push(format!(
            "another best token, and no near tie (the reference prefers its own by {:.3})",
            row.argmax_gap
        ));
    }
    failed
}

/// What a run must stay within: the reference's `own` distance, with some slack for single
/// positions, or the `thresholds`, whichever is wider; a threshold that is a hard limit alone.
pub(crate) fn bound(own: Spread, thresholds: Thresholds) -> Spread {
    let hard = thresholds.hard;
    let wider = Spread {
        max_mse: POSITION_SLACK * own.max_mse,
        min_cosine: 1.0 - POSITION_SLACK * (1.0 - own.min_cosine),
        max_kl: POSITION_SLACK * own.max_kl,
        ..own
    }
    .wider(Spread {
        mean_mse: thresholds.mse,
        max_mse: thresholds.mse,
        mean_nmse: 0.0,
        min_cosine: thresholds.cosine,
        mean_kl: thresholds.kl,
        max_kl: thresholds.kl,
        min_top5: thresholds.topk,
    });
    let either = |hard: bool, limit: f64, wider: f64| if hard { limit } else { wider };
    Spread {
        mean_mse: either(hard.mse, thresholds.mse, wider.mean_mse),
        max_mse: either(hard.mse, thresholds.mse, wider.max_mse),
        min_cosine: either(hard.cosine, thresholds.cosine, wider.min_cosine),
        mean_kl: either(hard.kl, thresholds.kl, wider.mean_kl),
        max_kl: either(hard.kl, thresholds.kl, wider.max_kl),
        min_top5: either(hard.topk, thresholds.topk, wider.min_top5),
        ..wider
    }
}

/// By how much the reference may prefer a token that is missing among the best five and still be
/// within bounds.
pub(crate) fn top5_tie(bound: &Spread, thresholds: Thresholds) -> f64 {
    if thresholds.hard.topk {
        0.0
    } else {
        near_tie_gap(bound.mean_mse)
    }
}

/// The gap between two logits below which errors of this mean square may well swap them: each of
/// the two moves by `sqrt(mse)`, their difference by `sqrt(2)` of that, and three times as much is
/// still common among hundreds of positions.
pub(crate) fn near_tie_gap(mse: f64) -> f64 {
    3.0 * (2.0 * mse).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(noise: f32) -> LogitsDistance {
        let theirs: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
        let ours: Vec<f32> = theirs
            .iter()
            .enumerate()
            .map(|(i, v)| v + noise * (i as f32 * 1.3).cos())
            .collect();
        LogitsDistance::between(&ours, &theirs)
    }

    #[test]
    fn within_the_thresholds_passes() {
        let verdict = Verdict::of(
            &[row(0.0), row(0.005)],
            Spread::ZERO,
            Thresholds::default(),
            None,
        );
        assert!(verdict.passed(), "{:?}", verdict.reasons);
        assert_eq!(verdict.first_divergence, None);
    }

    #[test]
    fn beyond_them_fails_and_names_the_first_position() {
        let verdict = Verdict::of(
            &[row(0.0), row(0.2), row(0.3)],
            Spread::ZERO,
            Thresholds::default(),
            None,
        );
        assert!(!verdict.passed());
        assert_eq!(verdict.first_divergence, Some(1));
        assert!(
            verdict.reasons[0].starts_with("position 1: MSE"),
            "{:?}",
            verdict.reasons
        );
    }

    #[test]
    fn one_position_may_exceed_the_furthest_of_the_reference_but_not_by_much() {
        let own = Spread::of(&[row(0.04), row(0.04)]);
        let judge = |rows: &[LogitsDistance]| Verdict::of(rows, own, Thresholds::default(), None);
        assert!(judge(&[row(0.0), row(0.05)]).passed());
        let verdict = judge(&[row(0.0), row(0.0), row(0.0), row(0.06)]);
        assert_eq!(verdict.first_divergence, Some(3));
        assert!(
            !judge(&[row(0.045), row(0.045)]).passed(),
            "the mean has no slack"
        );
    }

    #[test]
    fn the_reference_itself_sets_the_bound_where_it_is_further_off() {
        let rows = [row(0.03), row(0.03)];
        let none = Verdict::of(&rows, Spread::ZERO, Thresholds::default(), None);
        assert!(!none.passed());
        let own = Spread::of(&[row(0.04), row(0.04)]);
        assert!(Verdict::of(&rows, own, Thresholds::default(), None).passed());
    }

    #[test]
    fn a_hard_limit_holds_whatever_the_reference_does_to_itself() {
        let rows = [row(0.03), row(0.03)];
        let own = Spread::of(&[row(0.04), row(0.04)]);
        let judge = |thresholds| Verdict::of(&rows, own, thresholds, None);
        let all = HardLimits {
            mse: true,
            kl: true,
            topk: true,
            cosine: true,
        };
        let at = Thresholds {
            mse: 1e-3,
            hard: all,
            ..Thresholds::default()
        };
        assert!(judge(at).passed(), "{:?}", judge(at).reasons);
        let found = LogitsDistance::clone(&rows[0]);
        for (word, tight) in [
            (
                "MSE",
                Thresholds {
                    mse: found.mse / 2.0,
                    ..at
                },
            ),
            (
                "KL",
                Thresholds {
                    kl: found.kl / 2.0,
                    ..at
                },
            ),
            (
                "cosine",
                Thresholds {
                    cosine: (1.0 + found.cosine) / 2.0,
                    ..at
                },
            ),
        ] {
            let verdict = judge(tight);
            let reasons = &verdict.reasons;
            assert!(
                reasons.iter().any(|reason| reason.contains(word)),
                "{word}: {reasons:?}"
            );
            let hard = HardLimits::default();
            assert!(judge(Thresholds { hard, ..tight }).passed(), "{word}");
        }
    }

    #[test]
    fn a_hard_limit_of_the_five_best_excuses_no_near_tie() {
        let mut theirs = vec![0.0f32; 64];
        for (i, value) in [1.0, 0.9, 0.8, 0.7, 0.6, 0.599].into_iter().enumerate() {
            theirs[i] = value;
        }
        let mut ours = theirs.clone();
        ours.swap(4, 5);
        let near = [LogitsDistance::between(&ours, &theirs)];
        let mut thresholds = Thresholds {
            topk: 1.0,
            ..Thresholds::default()
        };
        assert!(Verdict::of(&near, Spread::ZERO, thresholds, None).passed());
        thresholds.hard.topk = true;
        assert!(!Verdict::of(&near, Spread::ZERO, thresholds, None).passed());
    }

    #[test]
    fn not_a_number_never_passes() {
        let bad = LogitsDistance::between(&[f32::NAN, 0.0], &[1.0, 0.0]);
        let wide = Thresholds {
            mse: 1e9,
            kl: 1e9,
            topk: 0.0,
            cosine: -1.0,
            hard: HardLimits::default(),
        };
        assert!(!Verdict::of(&[bad], Spread::ZERO, wide, None).passed());
    }

    #[test]
    fn a_near_tie_excuses_another_choice_but_a_clear_preference_does_not() {
        let mut theirs = vec![0.0f32; 64];
        (theirs[3], theirs[4]) = (1.0, 0.999);
        let mut ours = theirs.clone();
        (ours[3], ours[4]) = (0.999, 1.0);
        let near = LogitsDistance::between(&ours, &theirs);
        let verdict = Verdict::of(&[near], Spread::ZERO, Thresholds::default(), None);
        assert!(
            verdict.passed() && verdict.near_ties[0],
            "{:?}",
            verdict.reasons
        );
        (theirs[3], theirs[4]) = (1.0, 0.95);
        let clear = LogitsDistance::between(&ours, &theirs);
        let verdict = Verdict::of(&[clear], Spread::ZERO, Thresholds::default(), None);
        assert!(
            verdict.reasons[0].contains("no near tie"),
            "{:?}",
            verdict.reasons
        );
    }
}
