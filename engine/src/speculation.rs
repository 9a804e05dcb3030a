//! Speculation without a second model: what comes next is guessed from the text itself and from
//! earlier answers, and one pass checks several guesses at once.
//!
//! The sampler chooses every token as it would have without: from the logits behind the tokens
//! before it, which are the same bits however many tokens a pass reads. A guess that it does not
//! choose costs time, and nothing else.

mod drafts;
mod earlier;
mod pace;

use std::sync::Arc;
use std::time::Duration;

use bitnet_kernels::{Output, Want};

use crate::rows::Row;
use drafts::Drafts;
pub(crate) use earlier::Earlier;
use pace::Pace;

/// Guesses for one sequence, and what a pass has found out about the latest of them.
pub(crate) struct Speculation {
    drafts: Drafts,
    earlier: Arc<Earlier>,
    pace: Pace,
    /// Guessed tokens that the latest pass has read; empty where there are none.
    drafted: Vec<u32>,
    /// What that pass gave: a row behind the last token, and one behind each guess.
    rows: Output,
    want: Want,
    /// Guesses that turned out right.
    right: usize,
    /// Whether the row behind those is still to be looked at.
    ready: bool,
}

impl Speculation {
    /// At most `most` guesses in a pass, some of them from `earlier` answers.
    pub(crate) fn new(most: usize, earlier: &Arc<Earlier>) -> Speculation {
        Speculation {
            drafts: Drafts::default(),
            earlier: Arc::clone(earlier),
            pace: Pace::new(most),
            drafted: Vec::with_capacity(most),
            rows: Output::default(),
            want: Want::Nothing,
            right: 0,
            ready: false,
        }
    }

    /// Makes room for `tokens` tokens, of which the first `kept` are those that were seen.
    pub(crate) fn begin(&mut self, tokens: usize, kept: usize) {
        self.drafts.begin(tokens, kept);
        self.forget();
    }

    /// Guesses what follows `tokens`, `most` tokens at most: as many as pay in a pass that
    /// continues so many sequences `beside` this one.
    pub(crate) fn guess(&mut self, tokens: &[u32], most: usize, beside: usize) -> &[u32] {
        self.drafted.clear();
        self.right = 0;
        let found = self.drafts.find(tokens);
        let texts = self.earlier.texts();
        let matched = found.map_or(0, |found| found.matched);
        let place = texts.find(tokens).filter(|place| place.matched > matched);
        if let Some(place) = place {
            let count = self.pace.count(place.matched, true, beside).min(most);
            texts.copy(&place, count, &mut self.drafted);
        } else if let Some(found) = found {
            let count = self.pace.count(found.matched, false, beside).min(most);
            self.drafts.copy(tokens, &found, count, &mut self.drafted);
        }
        &self.drafted
    }

    /// Keeps the last `answer` of these tokens, for guesses of what other answers say.
    pub(crate) fn keep(&self, tokens: &[u32], answer: usize) {
        self.earlier.keep(tokens, answer);
    }

    /// Where a pass over the last token and all guesses puts what it is asked for.
    pub(crate) fn rows(&mut self, want: Want) -> &mut Output {
        self.want = want;
        &mut self.rows
    }

    /// What was guessed for the next pass, or the latest.
    pub(crate) fn drafted(&self) -> &[u32] {
        &self.drafted
    }

    /// Notes how long a pass with so many guesses, those for other sequences among them, took.
    pub(crate) fn took(&mut self, guesses: usize, time: Duration) {
        self.pace.took(guesses, time);
        self.ready = !self.drafted.is_empty();
    }

    /// What comes behind the guesses that turned out right, where it is known already and is what
    /// is wanted.
    pub(crate) fn next(&mut self, want: Want, out: &mut Output) -> bool {
        let known = std::mem::take(&mut self.ready) && want == self.want;
        if known {
            Row::of(&self.rows, self.right, self.drafted.len() + 1).give(want, None, out);
        }
        known
    }

    /// Notes the token that was chosen. Whether the model has read it already.
    pub(crate) fn chosen(&mut self, token: u32) -> bool {
        let Some(guess) = self.drafted.get(self.right) else {
            // What comes behind the last guess was not guessed.
            self.forget();
            return false;
        };
        if *guess != token {
            self.pace.learn(self.right, true);
            self.forget();
            return false;
        }
        self.right += 1;
        self.ready = true;
        if self.right == self.drafted.len() {
            self.pace.learn(self.right, false);
        }
        true
    }

    /// Forgets the latest guesses.
    pub(crate) fn forget(&mut self) {
        self.drafted.clear();
        self.right = 0;
        self.ready = false;
    }
}

#[cfg(test)]
mod tests {
    use bitnet_kernels::Candidate;

    use super::*;

    /// What a pass gives whose rows are best continued with `tokens`.
    fn fill(rows: &mut Output, tokens: &[u32]) {
        rows.top = tokens.iter().map(|id| Candidate::new(*id, 1.0)).collect();
    }

    /// The token behind the guesses that were right so far, where a pass has told it already.
    fn told(speculation: &mut Speculation) -> Option<u32> {
        let mut out = Output::default();
        speculation
            .next(Want::Top(1), &mut out)
            .then(|| out.top[0].id)
    }

    /// A text in circles, of which a pass has read guesses: `[3, 1, 2, ..]`.
    fn guessed() -> Speculation {
        let mut speculation = Speculation::new(3, &Arc::default());
        let text = [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2];
        assert_eq!(speculation.guess(&text, 3, 0), [3, 1, 2]);
        speculation
    }

    #[test]
    fn guesses_that_are_right_need_no_pass() {
        let mut speculation = guessed();
        fill(speculation.rows(Want::Top(1)), &[3, 1, 2, 9]);
        speculation.took(3, Duration::from_millis(1));
        for token in [3, 1, 2] {
            assert_eq!(told(&mut speculation), Some(token));
            assert!(speculation.chosen(token));
        }
        // The row behind the last guess tells one more, which nobody has read.
        assert_eq!(told(&mut speculation), Some(9));
        assert!(!speculation.chosen(9));
        assert_eq!(told(&mut speculation), None);
        assert!(!speculation.chosen(3));
    }

    #[test]
    fn what_follows_a_wrong_guess_is_not_looked_at() {
        let mut speculation = guessed();
        fill(speculation.rows(Want::Top(1)), &[3, 7, 2, 9]);
        speculation.took(3, Duration::from_millis(1));
        assert_eq!(told(&mut speculation), Some(3));
        assert!(speculation.chosen(3));
        assert_eq!(told(&mut speculation), Some(7));
        assert!(!speculation.chosen(7));
        assert_eq!(told(&mut speculation), None);
    }

    #[test]
    fn a_row_of_something_else_than_is_wanted_is_not_given() {
        let mut speculation = guessed();
        fill(speculation.rows(Want::Top(1)), &[3, 1, 2, 9]);
        speculation.took(3, Duration::from_millis(1));
        let mut out = Output::default();
        assert!(!speculation.next(Want::Logits, &mut out));
        assert_eq!(told(&mut speculation), None);
    }
}
