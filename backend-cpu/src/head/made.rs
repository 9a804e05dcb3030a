//! The memory of a screen.

use std::io;
use std::ops::Range;

use crate::generic::screen::{Bounds, Rows, RowsMut, blocks};
use crate::memory::pages::{Pages, Plain};
use crate::microkernel::screen::{Coarse, CodeLine, Fine};

/// Rows in a piece of a search.
pub(crate) const PIECE: usize = 256;

/// The rows of a piece, of so many rows in all.
pub(super) fn piece_rows(piece: usize, rows: usize) -> Range<usize> {
    piece * PIECE..((piece + 1) * PIECE).min(rows)
}

// SAFETY: an array of bytes, aligned to 64.
unsafe impl Plain for CodeLine {}
// SAFETY: an array of a plain type has no padding, either.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}
// SAFETY: any four bytes are an f32.
unsafe impl Plain for f32 {}

/// Rows in six bits, and what they leave out.
pub(super) struct Made {
    pub(super) rows: usize,
    /// `[row, block]`.
    coarse: Pages<Coarse>,
    fine: Pages<Fine>,
    /// `[row]`.
    bounds: Bounds<Pages<f32>>,
    per_row: usize,
}

impl Made {
    /// Memory for `rows` rows of `cols` weights.
    pub(super) fn new(rows: usize, cols: usize) -> io::Result<Made> {
        let per_row = blocks(cols);
        Ok(Made {
            rows,
            coarse: Pages::new(rows * per_row)?,
            fine: Pages::new(rows * per_row)?,
            bounds: Bounds {
                scale: Pages::new(rows)?,
                coarse_error: Pages::new(rows)?,
                error: Pages::new(rows)?,
                norm: Pages::new(rows)?,
            },
            per_row,
        })
    }

    /// Bytes that bound a row: its high bits, scale, coarse error and norm.
    pub(super) fn coarse_row_bytes(&self) -> usize {
        self.per_row * size_of::<Coarse>() + 3 * size_of::<f32>()
    }

    /// What there is of it beside these: its low bits and its error.
    pub(super) fn fine_row_bytes(&self) -> usize {
        self.per_row * size_of::<Fine>() + size_of::<f32>()
    }

    /// Rows that were made in an earlier pass.
    ///
    /// # Safety
    /// - Nobody writes them now.
    pub(super) unsafe fn read(&self, rows: Range<usize>) -> Rows<'_> {
        let blocks = rows.start * self.per_row..rows.end * self.per_row;
        // SAFETY: the caller's promise.
        unsafe {
            Rows {
                coarse: self.coarse.read(blocks.clone()),
                fine: self.fine.read(blocks),
                bounds: Bounds {
                    scale: self.bounds.scale.read(rows.clone()),
                    coarse_error: self.bounds.coarse_error.read(rows.clone()),
                    error: self.bounds.error.read(rows.clone()),
                    norm: self.bounds.norm.read(rows),
                },
            }
        }
    }

    /// Rows to be made.
    ///
    /// # Safety
    /// - Nobody else reads or writes them while the result lives.
    pub(super) unsafe fn write(&self, rows: Range<usize>) -> RowsMut<'_> {
        let blocks = rows.start * self.per_row..rows.end * self.per_row;
        // SAFETY: the caller's promise.
        unsafe {
            RowsMut {
                coarse: self.coarse.write(blocks.clone()),
                fine: self.fine.write(blocks),
                bounds: Bounds {
                    scale: self.bounds.scale.write(rows.clone()),
                    coarse_error: self.bounds.coarse_error.write(rows.clone()),
                    error: self.bounds.error.write(rows.clone()),
                    norm: self.bounds.norm.write(rows),
                },
            }
        }
    }
}
