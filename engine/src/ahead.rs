//! [`Ahead`]: tokens that the device has read ahead of the sampler, each the best of what the one
//! before gave.
//!
//! The sampler chooses every token as it would have otherwise. What it does not choose, or what
//! stands behind the end of a text, was read in vain: so runs begin short, and become longer only
//! where all of the last one was chosen.

use std::collections::VecDeque;

use bitnet_kernels::{Candidate, Output};

/// The best behind each token of the latest run that nobody has chosen yet.
pub(crate) struct Ahead {
    best: VecDeque<Candidate>,
    /// What the sampler was given last.
    given: Option<u32>,
    /// Whether a token of the latest run was not chosen.
    missed: bool,
    /// Tokens of the latest run.
    run: usize,
}

impl Ahead {
    pub(crate) fn new() -> Ahead {
        Ahead {
            // Nothing grows from step to step.
            best: VecDeque::with_capacity(16),
            given: None,
            missed: false,
            run: 0,
        }
    }

    /// How many tokens the next run may have.
    pub(crate) fn run(&self) -> usize {
        match self.missed {
            true => 1,
            false => (2 * self.run).max(1),
        }
    }

    /// Takes in what a run gave: the best behind each token that it has read.
    pub(crate) fn ran(&mut self, out: &mut Output) {
        self.run = out.top.len();
        self.missed = false;
        self.best.clear();
        self.best.extend(out.top.iter());
        self.next(out);
    }

    /// The best behind the last token, where a run has told it already.
    pub(crate) fn next(&mut self, out: &mut Output) -> bool {
        let Some(best) = self.best.pop_front() else {
            return false;
        };
        self.given = Some(best.id);
        out.logits.clear();
        out.top.clear();
        out.top.push(best);
        true
    }

    /// Notes the token that was chosen. Whether the model has read it already.
    pub(crate) fn chosen(&mut self, token: u32) -> bool {
        let right = self.given.take() == Some(token);
        if !right {
            self.forget();
        }
        !self.best.is_empty()
    }

    /// Forgets what was read ahead.
    pub(crate) fn forget(&mut self) {
        self.missed = true;
        self.given = None;
        self.best.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(ahead: &mut Ahead, tokens: &[u32]) -> Output {
        let mut out = Output {
            top: tokens.iter().map(|id| Candidate::new(*id, 1.0)).collect(),
            ..Output::default()
        };
        ahead.ran(&mut out);
        out
    }

    #[test]
    fn what_was_read_ahead_needs_no_pass_and_makes_runs_longer() {
        let mut ahead = Ahead::new();
        assert_eq!(ahead.run(), 1);
        let mut out = ran(&mut ahead, &[7]);
        assert_eq!(out.top[0].id, 7);
        // Nobody has read the last of a run.
        assert!(!ahead.chosen(7));
        assert_eq!(ahead.run(), 2);
        out = ran(&mut ahead, &[8, 9]);
        assert_eq!(out.top[0].id, 8);
        assert!(ahead.chosen(8));
        assert!(ahead.next(&mut out));
        assert_eq!(out.top[0].id, 9);
        assert!(!ahead.chosen(9));
        assert!(!ahead.next(&mut out));
        assert_eq!(ahead.run(), 4);
    }

    #[test]
    fn what_follows_a_token_that_was_not_chosen_is_not_looked_at() {
        let mut ahead = Ahead::new();
        let mut out = ran(&mut ahead, &[8, 9, 10, 11]);
        assert!(ahead.chosen(8));
        assert!(ahead.next(&mut out));
        assert!(!ahead.chosen(5));
        assert!(!ahead.next(&mut out));
        assert_eq!(ahead.run(), 1);
    }
}
