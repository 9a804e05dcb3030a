//! [`Candidate`]: a token that may come next, and the one order of candidates.
//!
//! The larger logit comes first and, of equal logits, the lower id. -0 and 0 are equal, and a NaN
//! counts as negative infinity. `shaders/shared/candidate.wgsl` is this order in WGSL.

use std::cmp::Ordering;

/// A token id with its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Token id.
    pub id: u32,
    /// Its logit.
    pub logit: f32,
}

impl Candidate {
    /// A candidate whose logit is what it counts as: 0 for -0, negative infinity for a NaN.
    pub fn new(id: u32, logit: f32) -> Candidate {
        Candidate {
            id,
            logit: comparable(logit),
        }
    }

    /// The order of candidates: `Less` where `a` is better than `b`. Total, and equal only for two
    /// candidates of one id.
    pub fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
        comparable(b.logit)
            .total_cmp(&comparable(a.logit))
            .then(a.id.cmp(&b.id))
    }
}

/// A number that `total_cmp` orders as candidates are ordered.
fn comparable(logit: f32) -> f32 {
    // `max` drops a NaN; -0 + 0 is 0.
    logit.max(f32::NEG_INFINITY) + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larger_logits_come_first_then_lower_ids_and_nan_is_negative_infinity() {
        let in_order = [
            (9, f32::INFINITY),
            (1, f32::MAX),
            (8, 1.0),
            (2, 1e-45),
            // Equal: ids decide.
            (0, 0.0),
            (3, -0.0),
            (4, 0.0),
            (7, -1e-45),
            (5, f32::MIN),
            (6, f32::NEG_INFINITY),
            (10, f32::NAN),
            (11, f32::NEG_INFINITY),
            (12, -f32::NAN),
        ]
        .map(|(id, logit)| Candidate { id, logit });
        for (i, a) in in_order.iter().enumerate() {
            for (j, b) in in_order.iter().enumerate() {
                assert_eq!(Candidate::best_first(a, b), i.cmp(&j), "{a:?}, {b:?}");
                let (a, b) = (Candidate::new(a.id, a.logit), Candidate::new(b.id, b.logit));
                assert_eq!(Candidate::best_first(&a, &b), i.cmp(&j), "{a:?}, {b:?}");
            }
        }
    }

    #[test]
    fn logits_are_stored_as_what_they_count_as() {
        assert_eq!(Candidate::new(0, -0.0).logit.to_bits(), 0);
        for nan in [f32::NAN, -f32::NAN] {
            assert_eq!(Candidate::new(0, nan).logit, f32::NEG_INFINITY);
        }
        for logit in [f32::INFINITY, f32::MIN, -1e-45, 3.5] {
            assert_eq!(Candidate::new(0, logit).logit.to_bits(), logit.to_bits());
        }
    }
}
