//! Where what is said comes from: a terminal with a line editor, or a pipe.
//!
//! A line that ends in a backslash goes on in the next one; one that ends in two ends in one. Lines
//! that are pasted together are one text.

use std::io::{self, BufRead, IsTerminal, StdinLock};

use anyhow::{Context, Result};

use super::terminal::{Input, Terminal};

/// A terminal or a pipe.
pub(super) enum Source {
    Terminal(Box<Terminal>),
    Pipe(StdinLock<'static>),
}

impl Source {
    /// Standard input, whatever it is.
    pub(super) fn open() -> Result<Source> {
        Ok(match io::stdin().is_terminal() {
            true => Source::Terminal(Box::new(Terminal::open()?)),
            false => Source::Pipe(io::stdin().lock()),
        })
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Source::Terminal(_))
    }

    /// Waits for a text, of as many lines as belong together.
    pub(super) fn next(&mut self) -> Result<Input> {
        let mut text: Option<String> = None;
        loop {
            let line = match self.line(text.is_some())? {
                Input::Text(line) => line,
                // Nobody will go on with what was begun.
                Input::End if text.is_some() => break,
                other => return Ok(other),
            };
            let (line, goes_on) = ending(&line);
            match &mut text {
                Some(text) => {
                    text.push('\n');
                    text.push_str(line);
                }
                None => text = Some(line.to_owned()),
            }
            if !goes_on {
                break;
            }
        }
        let text = text.unwrap_or_default();
        if let Source::Terminal(terminal) = self {
            terminal.remember(&text);
        }
        Ok(Input::Text(text))
    }

    /// One line; on a terminal, all that was pasted.
    fn line(&mut self, goes_on: bool) -> Result<Input> {
        match self {
            Source::Terminal(terminal) => terminal.line(if goes_on { "| " } else { "> " }),
            Source::Pipe(stdin) => {
                let mut line = String::new();
                let read = stdin.read_line(&mut line).context("standard input")?;
                if line.ends_with('\n') {
                    line.pop();
                    if line.ends_with('\r') {
                        line.pop();
                    }
                }
                Ok(match read {
                    0 => Input::End,
                    _ => Input::Text(line),
                })
            }
        }
    }
}

/// A line without the sign that it goes on, and whether it does.
fn ending(line: &str) -> (&str, bool) {
    match line.strip_suffix('\\') {
        None => (line, false),
        Some(rest) => (rest, !rest.ends_with('\\')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_backslash_goes_on_and_two_are_one() {
        assert_eq!(ending("a"), ("a", false));
        assert_eq!(ending("a\\"), ("a", true));
        assert_eq!(ending("a\\\\"), ("a\\", false));
        assert_eq!(ending("\\"), ("", true));
    }
}
