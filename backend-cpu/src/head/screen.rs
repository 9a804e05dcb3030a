//! The screen of a head: the rows that this process has made in memory, and where another process
//! has made it before, all others where that has left them.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bitnet_kernels::ScreenParts;

use super::counted::Counted;
use super::kept::{Complete, Kept};
use super::made::{Made, PIECE};
use crate::generic::screen::{Rows, RowsMut};

/// The rows of a head in six bits, and what they leave out.
pub(crate) struct Screen {
    made: Arc<Made>,
    /// Rows from the first on that are made.
    pub(crate) ready: usize,
    /// What another process has made, until all of it is copied.
    kept: Option<Kept>,
}

impl Screen {
    /// Memory for the screen of `rows` rows of `cols` weights, beside what another process has made
    /// of them.
    pub(super) fn new(rows: usize, cols: usize, kept: Option<Kept>) -> io::Result<Screen> {
        Ok(Screen {
            made: Arc::new(Made::new(rows, cols)?),
            ready: 0,
            kept,
        })
    }

    /// Bytes of all rows.
    pub(crate) fn bytes(&self) -> usize {
        self.made.rows * (self.made.coarse_row_bytes() + self.made.fine_row_bytes())
    }

    /// Bytes that searches read.
    pub(super) fn bytes_of(&self, counted: &Counted) -> usize {
        let (coarse, fine) = (self.made.coarse_row_bytes(), self.made.fine_row_bytes());
        let all = counted.refined + counted.dense + counted.closer;
        counted.coarse * coarse + all * (coarse + fine - size_of::<f32>())
    }

    /// Whether any row can be bounded.
    pub(super) fn has_rows(&self) -> bool {
        self.ready > 0 || self.kept.is_some()
    }

    /// Whether all rows can be bounded, as far as is known.
    pub(super) fn has_all_rows(&self) -> bool {
        self.ready == self.made.rows || self.kept.is_some()
    }

    /// The rows of a piece, with their low bits and the errors of these, or with the errors of the
    /// high bits; nothing where they are still to be made.
    ///
    /// # Safety
    /// - Nobody writes those that were made in an earlier pass.
    pub(super) unsafe fn rows(&self, rows: Range<usize>, all_bits: bool) -> Option<Rows<'_>> {
        if rows.end <= self.ready {
            // SAFETY: the caller's promise.
            return Some(unsafe { self.made.read(rows) });
        }
        self.kept.as_ref()?.rows(rows.start / PIECE, all_bits)
    }

    /// The rows of a piece, to be made.
    ///
    /// # Safety
    /// - Nobody else reads or writes them in memory while the result lives.
    pub(super) unsafe fn write(&self, rows: Range<usize>) -> RowsMut<'_> {
        // SAFETY: the caller's promise.
        unsafe { self.made.write(rows) }
    }

    /// Copies the rows of a piece, if another process has made them.
    pub(super) fn copy_kept(&self, piece: usize, into: &mut RowsMut<'_>) -> bool {
        let kept = self.kept.as_ref();
        kept.is_some_and(|kept| kept.copy(piece, into))
    }

    /// Notes that rows up to this one are made now.
    pub(super) fn is_made_until(&mut self, row: usize) {
        self.ready = row;
        if row == self.made.rows {
            self.kept = None;
        }
    }

    /// Gives up what another process has made, if any of it is not as that left it. Whether it is.
    pub(super) fn drop_damaged(&mut self) -> bool {
        let damaged = self.kept.take_if(|kept| kept.is_damaged());
        damaged.is_some()
    }

    /// All of it, once it is made, for other processes; `dense` tells what the last search needed.
    pub(super) fn complete(&self, dense: bool) -> Option<Arc<dyn ScreenParts>> {
        let made = (self.ready == self.made.rows).then(|| Arc::clone(&self.made))?;
        // SAFETY: rows are written in the pass that makes them, which is over.
        Some(Arc::new(unsafe { Complete::new(made, dense) }))
    }
}
