//! Words by regular expressions: each expression cuts the pieces that the one before left, and what
//! it does not match stays a piece of its own.
//!
//! Where the tables write `\s+(?!\S)` (spaces, but the last one belongs to the word behind them),
//! the expression here says `\s+` and [`Expression::back_off`] gives the last space back. Without
//! the look-ahead an expression needs no backtracking, whose stack a run of a million letters or
//! spaces overflows.

use std::ops::Range;

use fancy_regex::Regex;

use super::digits::Digits;
use super::spaces;
use crate::Error;

/// One of the steps that cut a text into words.
#[derive(Debug)]
pub(crate) enum Step {
    /// Each match is a piece.
    Expression(Expression),
    /// Runs of digits are cut into threes from their right end.
    Digits(Digits),
    /// Runs of spaces are cut into powers of two.
    Spaces,
}

/// An expression, and which white space at the end of a match belongs to what follows.
#[derive(Debug)]
pub(crate) struct Expression {
    regex: Regex,
    gives_back: fn(char) -> bool,
}

impl Expression {
    /// From a regular expression that writes `\s+` for `\s+(?!\S)|\s+`.
    pub(super) fn new(expression: &str) -> Result<Expression, Error> {
        let takes_line_breaks = expression.contains(r"\s*[\r\n]");
        let gives_back: fn(char) -> bool = match expression.ends_with(r"|\s+") {
            true if takes_line_breaks => |c| c.is_whitespace() && !matches!(c, '\r' | '\n'),
            true => char::is_whitespace,
            false => |_| false,
        };
        Ok(Expression {
            regex: compile(expression)?,
            gives_back,
        })
    }

    /// From one that has its look-aheads.
    #[cfg(test)]
    pub(super) fn verbatim(expression: &str) -> Result<Expression, Error> {
        Ok(Expression {
            regex: compile(expression)?,
            gives_back: |_| false,
        })
    }

    /// The end of a match without its last space, if it has more than that one and text follows.
    fn back_off(&self, text: &str, found: Range<usize>) -> usize {
        let last = text[found.clone()].chars().next_back();
        match last {
            Some(last)
                if (self.gives_back)(last)
                    && found.len() > last.len_utf8()
                    && found.end < text.len() =>
            {
                found.end - last.len_utf8()
            }
            _ => found.end,
        }
    }

    /// The next match of some length at or behind `from`.
    fn find(&self, text: &str, from: usize) -> Result<Option<Range<usize>>, Error> {
        let found = self.regex.find_from_pos(text, from);
        let found = found.map_err(|error| Error::Encode(error.to_string()))?;
        Ok(found.map(|found| found.start()..self.back_off(text, found.range())))
    }
}

fn compile(expression: &str) -> Result<Regex, Error> {
    Regex::new(expression)
        .map_err(|error| Error::Vocabulary(format!("pre-tokenizer expression: {error}")))
}

/// Cuts `text` by one step after another.
pub(super) fn cut(steps: &[Step], text: &str) -> Result<Vec<Range<usize>>, Error> {
    let whole = 0..text.len();
    let mut pieces = Vec::from([whole]);
    for step in steps {
        let mut cut = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let within = &text[piece.clone()];
            let mut end = 0;
            let mut take = |word: Range<usize>| {
                if word.start > end {
                    cut.push(piece.start + end..piece.start + word.start);
                }
                cut.push(piece.start + word.start..piece.start + word.end);
                end = word.end;
            };
            match step {
                Step::Digits(digits) => digits.words(within).for_each(&mut take),
                Step::Spaces => spaces::words(within).into_iter().for_each(&mut take),
                Step::Expression(expression) => {
                    let mut from = 0;
                    while let Some(word) = expression.find(within, from)? {
                        from = word.end;
                        take(word);
                    }
                }
            }
            if end < within.len() {
                cut.push(piece.start + end..piece.end);
            }
        }
        pieces = cut;
    }
    Ok(pieces)
}
