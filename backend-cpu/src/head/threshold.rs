//! What a search is to find, and the threshold that its threads share.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use bitnet_kernels::{Choice, TokenSet};

use super::screen::Screen;

/// One piece in so many is bounded in two stages where the others are not.
const TOLD_BY: usize = 32;

/// What a pass is to find, shared by its threads.
pub(crate) struct Search<'a> {
    pub(crate) screen: Option<&'a Screen>,
    /// Rows up to which the screen is made when the pass is over.
    pub(crate) until: usize,
    /// Whether rows get their bounds from all bits of their codes at once.
    pub(crate) dense: bool,
    /// A threshold per token.
    pub(crate) thresholds: &'a [Threshold],
    /// Which rows are looked for, per token; all for each where nothing is here.
    pub(crate) choices: &'a [Choice<'a>],
    /// The rows that are looked for, where they are so few that each is computed alone.
    pub(crate) listed: Option<&'a [Listed]>,
}

impl<'a> Search<'a> {
    /// Rows whose part of the screen the pass makes.
    pub(super) fn made(&self) -> Range<usize> {
        self.screen.map_or(0..0, |screen| screen.ready..self.until)
    }

    /// Whether the pass makes the screen of the rows of a piece.
    pub(super) fn makes(&self, rows: &Range<usize>) -> bool {
        let made = self.made();
        made.start <= rows.start && rows.end <= made.end
    }

    /// Whether the rows of a piece get their bounds from all bits of their codes at once: all but
    /// some, which tell whether that is still right.
    pub(super) fn is_dense(&self, piece: usize) -> bool {
        self.dense && !piece.is_multiple_of(TOLD_BY)
    }

    /// The rows that are looked for of a token, where `rows` are not all looked for.
    pub(super) fn among(&self, token: usize, rows: &Range<usize>) -> Option<&'a TokenSet> {
        let set = self.choices.get(token)?.among?;
        (set.count(ids(rows)) < rows.len()).then_some(set)
    }

    /// Whether no token is looked for among `rows`.
    pub(super) fn leaves_out(&self, rows: &Range<usize>) -> bool {
        let none = |choice: &Choice<'_>| choice.among.is_some_and(|set| set.count(ids(rows)) == 0);
        !self.choices.is_empty() && self.choices.iter().all(none)
    }
}

/// The tokens that rows stand for.
pub(super) fn ids(rows: &Range<usize>) -> Range<u32> {
    rows.start as u32..rows.end as u32
}

/// A row whose logit is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Listed {
    pub(super) token: usize,
    pub(super) row: u32,
}

/// A logit that only rises: `k` logits are known to be at least as large.
pub(crate) struct Threshold(AtomicU32);

impl Default for Threshold {
    fn default() -> Threshold {
        Threshold(AtomicU32::new(key(f32::NEG_INFINITY)))
    }
}

/// Bits that compare as the number does.
fn key(x: f32) -> u32 {
    let bits = x.to_bits();
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    }
}

impl Threshold {
    /// `to` is no NaN.
    pub(super) fn raise(&self, to: f32) {
        self.0.fetch_max(key(to), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> f32 {
        let key = self.0.load(Ordering::Relaxed);
        f32::from_bits(if key >> 31 == 1 {
            key & !(1 << 31)
        } else {
            !key
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_only_rises() {
        let threshold = Threshold::default();
        assert_eq!(threshold.get(), f32::NEG_INFINITY);
        for (to, then) in [
            (-3.0, -3.0),
            (-4.0, -3.0),
            (-0.5, -0.5),
            (2.5, 2.5),
            (-1.0, 2.5),
        ] {
            threshold.raise(to);
            assert_eq!(threshold.get(), then);
        }
        threshold.raise(f32::INFINITY);
        assert_eq!(threshold.get(), f32::INFINITY);
    }
}
