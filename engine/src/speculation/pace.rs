//! How many guesses pay: what a pass over them costs here, and how often such guesses were right.

use std::time::Duration;

/// Tokens that agree before a guess, from which on it is one of long standing.
const LONG: usize = 8;

/// How much a new measurement of time counts.
const TIME: f64 = 0.2;
/// How much a guess that came out counts.
const GUESS: f64 = 0.1;
/// How much the share of right guesses forgets where none is made, so that one is made again.
const FORGET: f64 = 0.005;

/// What the share of right guesses is taken for as long as nothing is known: of guesses from the
/// text itself, where few tokens agree and where many do, and of those from earlier answers.
const UNKNOWN: [f64; 4] = [0.5, 0.8, 0.5, 0.8];

/// What a guess costs, in passes over one token, as long as nothing is known.
const COST: f64 = 0.1;

/// Chooses numbers of guesses.
pub(super) struct Pace {
    most: usize,
    /// Seconds of a pass without guesses; 0 as long as there was none.
    single: f64,
    /// What each guess adds to a pass, as a share of it.
    cost: f64,
    /// The share of guesses that were right, for each class as in [`UNKNOWN`].
    right: [f64; 4],
    /// Which of them the latest guesses belong to.
    class: usize,
}

impl Pace {
    pub(super) fn new(most: usize) -> Pace {
        Pace {
            most,
            single: 0.0,
            cost: COST,
            right: UNKNOWN,
            class: 0,
        }
    }

    /// The number of guesses that gives the most tokens in a time, where `matched` tokens agree, in
    /// the text itself or in an `earlier` one, and the pass gives a token each to so many sequences
    /// `beside` this one.
    pub(super) fn count(&mut self, matched: usize, earlier: bool, beside: usize) -> usize {
        self.class = 2 * usize::from(earlier) + usize::from(matched >= LONG);
        let right = &mut self.right[self.class];
        let (mut best, mut count) = (1.0, 0);
        // A guess comes true only where all before it did.
        let (mut tokens, mut all) = (1.0, 1.0);
        for guesses in 1..=self.most {
            all *= *right;
            tokens += all;
            let all_tokens = (tokens + beside as f64) / (1.0 + beside as f64);
            let gain = all_tokens / (1.0 + self.cost * guesses as f64);
            if gain > best {
                (best, count) = (gain, guesses);
            }
        }
        if count == 0 {
            *right += (UNKNOWN[self.class] - *right) * FORGET;
        }
        count
    }

    /// Notes how long a pass with so many guesses took.
    pub(super) fn took(&mut self, guesses: usize, time: Duration) {
        let time = time.as_secs_f64();
        if guesses == 0 {
            let known = if self.single == 0.0 {
                time
            } else {
                self.single
            };
            self.single = known + (time - known) * TIME;
        } else if self.single > 0.0 {
            let cost = (time / self.single - 1.0) / guesses as f64;
            // A pass that was interrupted says little.
            self.cost += (cost.clamp(0.0, 1.0) - self.cost) * TIME;
        }
    }

    /// Notes that so many of the latest guesses were right, and whether the next was wrong.
    pub(super) fn learn(&mut self, right: usize, missed: bool) {
        let share = &mut self.right[self.class];
        for _ in 0..right {
            *share += (1.0 - *share) * GUESS;
        }
        if missed {
            *share -= *share * GUESS;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn guesses_that_are_right_become_more_and_wrong_ones_none() {
        let mut pace = Pace::new(8);
        pace.took(0, 10 * MILLI);
        for _ in 0..20 {
            let count = pace.count(3, false, 0);
            pace.took(count, 11 * MILLI);
            pace.learn(count, false);
        }
        assert_eq!(pace.count(3, false, 0), 8);
        for _ in 0..60 {
            let count = pace.count(3, false, 0);
            pace.took(count, (10 + 3 * count as u32) * MILLI);
            if count > 0 {
                pace.learn(0, true);
            }
        }
        assert_eq!(pace.count(3, false, 0), 0);
        // Where more tokens agree, guesses have a standing of their own.
        assert!(pace.count(20, false, 0) > 0);
        // So have those from earlier texts.
        assert!(pace.count(3, true, 0) > 0);
    }

    #[test]
    fn guesses_that_slow_many_others_down_are_not_made() {
        let mut pace = Pace::new(8);
        for _ in 0..20 {
            pace.learn(8, false);
        }
        assert_eq!(pace.count(3, false, 0), 8);
        assert_eq!(pace.count(3, false, 15), 0);
    }

    #[test]
    fn guesses_that_cost_as_much_as_they_give_are_not_made() {
        let mut pace = Pace::new(8);
        pace.took(0, 10 * MILLI);
        for _ in 0..40 {
            let count = pace.count(3, false, 0);
            pace.took(count.max(1), (10 + 10 * count.max(1) as u32) * MILLI);
            pace.learn(count, false);
        }
        assert_eq!(pace.count(3, false, 0), 0);
    }
}
