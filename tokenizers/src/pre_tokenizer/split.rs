//! [`PreTokenizer`]: cuts a text into words.

use std::ops::Range;

use super::expression::{Step, cut};
use super::scan::{Scan, Words};
use crate::Error;

/// A rule for cutting text into words.
#[derive(Debug)]
pub(crate) enum PreTokenizer {
    /// One that is there by hand.
    Scan(Scan),
    /// Steps to apply in order.
    Steps(Vec<Step>),
}

impl PreTokenizer {
    /// Cuts `text` into words.
    pub(crate) fn split<'a>(&self, text: &'a str) -> Result<Split<'a>, Error> {
        Ok(match self {
            PreTokenizer::Scan(scan) => Split::Scan(scan.words(text)),
            PreTokenizer::Steps(steps) => Split::Cut(cut(steps, text)?.into_iter()),
        })
    }
}

/// The words of a text, in order.
pub(crate) enum Split<'a> {
    Scan(Words<'a>),
    Cut(std::vec::IntoIter<Range<usize>>),
}

impl Iterator for Split<'_> {
    type Item = Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Range<usize>> {
        match self {
            Split::Scan(words) => words.next(),
            Split::Cut(words) => words.next(),
        }
    }
}
