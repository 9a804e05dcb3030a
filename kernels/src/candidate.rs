//! [`Candidate`]: a token that may come next, and the one order of candidates.
//!
//! A logit that is not finite is damage, and comes first, so that whoever asks for the best few
//! sees it. Then the larger logit comes first and, of equal logits, the lower id; -0 and 0 are
//! equal. `shaders/shared/candidate.wgsl` is this order in WGSL.

use std::cmp::Ordering;

use crate::order::{NAN, finite_or_nan};
use crate::token_set::TokenSet;

/// A token id with its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Token id.
    pub id: u32,
    /// Its logit.
    pub logit: f32,
}

impl Candidate {
    /// What stands where there are no more candidates.
    pub const NONE: Candidate = Candidate {
        id: u32::MAX,
        logit: f32::NEG_INFINITY,
    };

    /// A candidate with a logit as a forward pass gives it: 0 for -0, NaN for all that is not
    /// finite.
    pub fn new(id: u32, logit: f32) -> Candidate {
        Candidate {
            id,
            logit: comparable(finite_or_nan(logit)),
        }
    }

    /// Appends the best `count` of a row of logits to `found`, in order.
    pub fn best_of(logits: &[f32], count: usize, found: &mut Vec<Candidate>) {
        let before = found.len();
        let all = (0..).zip(logits);
        found.extend(all.map(|(id, logit)| Candidate::new(id, *logit)));
        let row = &mut found[before..];
        if count > 0 && count < row.len() {
            row.select_nth_unstable_by(count - 1, Candidate::best_first);
        }
        found.truncate(before.saturating_add(count));
        found[before..].sort_unstable_by(Candidate::best_first);
    }

    /// Appends the best `count` of the logits of some tokens, of all where `among` is none, to
    /// `found`, in order.
    pub fn best_among(
        logits: &[f32],
        among: Option<&TokenSet>,
        count: usize,
        found: &mut Vec<Candidate>,
    ) {
        let Some(among) = among else {
            return Candidate::best_of(logits, count, found);
        };
        let before = found.len();
        let some = among.iter().take_while(|id| (*id as usize) < logits.len());
        found.extend(some.map(|id| Candidate::new(id, logits[id as usize])));
        found[before..].sort_unstable_by(Candidate::best_first);
        found.truncate(before.saturating_add(count));
    }

    /// The order of candidates: `Less` where `a` is better than `b`. Total, and equal only for two
    /// candidates of one id. An infinity is the largest or the smallest number here: a stage of a
    /// sampler may set one.
    pub fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
        comparable(b.logit)
            .total_cmp(&comparable(a.logit))
            .then(a.id.cmp(&b.id))
    }
}

/// A number that `total_cmp` orders as candidates are ordered.
fn comparable(logit: f32) -> f32 {
    if logit.is_nan() {
        // `total_cmp` puts it behind infinity.
        NAN
    } else {
        // -0 + 0 is 0.
        logit + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_comes_first_then_larger_logits_then_lower_ids() {
        let in_order = [
            // Equal: ids decide.
            (10, f32::NAN),
            (12, -f32::NAN),
            (9, f32::INFINITY),
            (1, f32::MAX),
            (8, 1.0),
            (2, 1e-45),
            (0, 0.0),
            (3, -0.0),
            (4, 0.0),
            (7, -1e-45),
            (5, f32::MIN),
            (6, f32::NEG_INFINITY),
            (11, f32::NEG_INFINITY),
        ]
        .map(|(id, logit)| Candidate { id, logit });
        for (i, a) in in_order.iter().enumerate() {
            for (j, b) in in_order.iter().enumerate() {
                assert_eq!(Candidate::best_first(a, b), i.cmp(&j), "{a:?}, {b:?}");
            }
        }
    }

    #[test]
    fn logits_of_a_pass_are_finite_or_nan() {
        assert_eq!(Candidate::new(0, -0.0).logit.to_bits(), 0);
        for damage in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let logit = Candidate::new(0, damage).logit;
            assert_eq!(logit.to_bits(), NAN.to_bits(), "{damage}");
        }
        for logit in [f32::MIN, -1e-45, 3.5] {
            assert_eq!(Candidate::new(0, logit).logit.to_bits(), logit.to_bits());
        }
    }
}
