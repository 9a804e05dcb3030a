//! What one thread needs for the search, and what it finds.

use std::ops::Range;
use std::time::Duration;

use super::best::Best;
use super::counted::Counted;
use super::made::PIECE;
use crate::generic::screen::Query;

/// What a thread needs for the search, from pass to pass, and what it finds.
#[derive(Default)]
pub(crate) struct SearchScratch {
    /// Per token, the best logits that it computed.
    pub(crate) best: Vec<Best>,
    /// Per token, its rows of the highest bounds.
    pub(super) seeds: Vec<Best>,
    pub(super) queries: Vec<Query>,
    /// Rows whose bounds it computed, piece by piece, and whether from all bits.
    pub(super) bounded: Vec<(Range<usize>, bool)>,
    /// Whether each row of a piece is listed.
    marks: Vec<bool>,
    /// Rows of a piece whose bounds reach a threshold.
    pub(super) list: Vec<u32>,
    /// All rows of a piece.
    pub(super) all: Vec<u32>,
    pub(super) counted: Counted,
    /// Time that it took to make a part of the screen.
    pub(crate) making: Duration,
}

impl SearchScratch {
    /// Makes room for as many of the best as `counts` says of each token, of `cols` activations,
    /// among `pieces` pieces of rows.
    pub(crate) fn reserve(&mut self, counts: &[usize], cols: usize, pieces: usize, screened: bool) {
        let tokens = counts.len();
        for best in [&mut self.best, &mut self.seeds] {
            best.resize_with(tokens.max(best.len()), Best::default);
            for (best, count) in best.iter_mut().zip(counts) {
                best.start(*count);
            }
        }
        self.bounded.clear();
        self.bounded.reserve(pieces);
        while screened && self.queries.len() < tokens {
            self.queries.push(Query::new(cols));
        }
        if screened {
            self.marks.clear();
            self.marks.reserve(PIECE);
            self.list.clear();
            self.list.reserve(PIECE);
            self.all.clear();
            self.all.extend(0..PIECE as u32);
        }
    }

    /// Lists those of `count` rows that `mark` sets.
    pub(super) fn list_rows(&mut self, count: usize, mark: impl FnOnce(&mut [bool])) {
        self.marks.clear();
        self.marks.resize(count, false);
        mark(&mut self.marks);
        self.list.clear();
        let marked = self.marks.iter().enumerate().filter(|(_, mark)| **mark);
        self.list.extend(marked.map(|(row, _)| row as u32));
    }
}
