//! Digits in threes, as people write large numbers: `1234567` is `1`, `234`, `567`.
//!
//! Expressions say it with a look-ahead over the rest of the digits, which takes time in the square
//! of their number.

use std::ops::Range;

use regex_syntax::is_word_character;

use super::classes::{CLASSES, DECIMAL, NUMBER};

/// Which runs of digits are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digits {
    /// Every run of numbers: `\p{AFMoE_digits}` of llama.cpp, `(?=(\d{3})+(?!\d))`.
    All,
    /// Runs of decimal digits with a word boundary behind them: `\d{1,3}(?=(?:\d{3})*\b)`. The
    /// digits of `1234abc` stay together.
    BeforeBoundary,
}

impl Digits {
    /// The words that the digits of `text` make, in order.
    pub(super) fn words(self, text: &str) -> impl Iterator<Item = Range<usize>> {
        let wanted = match self {
            Digits::All => NUMBER,
            Digits::BeforeBoundary => DECIMAL,
        };
        let mut words = Vec::new();
        let mut run: Vec<usize> = Vec::new();
        for (at, _) in text.char_indices() {
            if CLASSES.at(text.as_bytes(), at).0 & wanted != 0 {
                run.push(at);
            } else {
                self.finish(text, &mut run, at, &mut words);
            }
        }
        self.finish(text, &mut run, text.len(), &mut words);
        words.into_iter()
    }

    /// Cuts the run whose numbers begin at `run`, and which ends at `end`.
    fn finish(self, text: &str, run: &mut Vec<usize>, end: usize, words: &mut Vec<Range<usize>>) {
        let joined = || text[end..].chars().next().is_some_and(is_word_character);
        if self == Digits::All || !joined() {
            let first = match run.len() % 3 {
                0 => 3,
                short => short,
            };
            let starts = std::iter::once(0).chain((first..run.len()).step_by(3));
            let ends = (first..run.len()).step_by(3).chain([run.len()]);
            let cut = starts.zip(ends).filter(|(from, to)| from < to);
            words.extend(cut.map(|(from, to)| {
                let behind = run.get(to).copied().unwrap_or(end);
                run[from]..behind
            }));
        }
        run.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(digits: Digits, text: &str) -> Vec<&str> {
        digits.words(text).map(|word| &text[word]).collect()
    }

    #[test]
    fn digits_are_cut_from_their_right_end() {
        for (text, wanted) in [
            ("1234567", &["1", "234", "567"][..]),
            ("a123456 12", &["123", "456", "12"]),
            ("x", &[]),
            ("", &[]),
            ("½1234", &["½1", "234"]),
        ] {
            assert_eq!(words(Digits::All, text), wanted, "{text}");
        }
        assert_eq!(words(Digits::All, "1234abc"), ["1", "234"]);
        let none: [&str; 0] = [];
        assert_eq!(words(Digits::BeforeBoundary, "1234abc 12_"), none);
        assert_eq!(words(Digits::BeforeBoundary, "1234, 5"), ["1", "234", "5"]);
    }
}
