//! The memory of a screen.

use std::io;
use std::ops::Range;

use crate::generic::screen::{Bounds, Rows, RowsMut, blocks};
use crate::memory::pages::{Pages, Plain};
use crate::microkernel::screen::Block;

// SAFETY: an array of bytes, aligned to 64.
unsafe impl Plain for Block {}
// SAFETY: any four bytes are an f32.
unsafe impl Plain for f32 {}

/// The rows of a head in six bits, and what they leave out.
pub(crate) struct Screen {
    blocks: Pages<Block>,
    /// `[row]`: a scale, an error, a norm.
    bounds: Bounds<Pages<f32>>,
    per_row: usize,
    /// Rows from the first on that are made.
    pub(crate) ready: usize,
}

impl Screen {
    /// Memory for the screen of `rows` rows of `cols` weights.
    pub(crate) fn new(rows: usize, cols: usize) -> io::Result<Screen> {
        let per_row = blocks(cols);
        Ok(Screen {
            blocks: Pages::new(rows * per_row)?,
            bounds: Bounds {
                scale: Pages::new(rows)?,
                error: Pages::new(rows)?,
                norm: Pages::new(rows)?,
            },
            per_row,
            ready: 0,
        })
    }

    /// Bytes of all rows.
    pub(crate) fn bytes(&self) -> usize {
        let Bounds { scale, error, norm } = &self.bounds;
        self.blocks.bytes() + scale.bytes() + error.bytes() + norm.bytes()
    }

    /// Rows that were made in an earlier pass.
    ///
    /// # Safety
    /// - Nobody writes them now.
    pub(crate) unsafe fn read(&self, rows: Range<usize>) -> Rows<'_> {
        let blocks = rows.start * self.per_row..rows.end * self.per_row;
        // SAFETY: the caller's promise.
        unsafe {
            Rows {
                blocks: self.blocks.read(blocks),
                bounds: Bounds {
                    scale: self.bounds.scale.read(rows.clone()),
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
    pub(crate) unsafe fn write(&self, rows: Range<usize>) -> RowsMut<'_> {
        let blocks = rows.start * self.per_row..rows.end * self.per_row;
        // SAFETY: the caller's promise.
        unsafe {
            RowsMut {
                blocks: self.blocks.write(blocks),
                bounds: Bounds {
                    scale: self.bounds.scale.write(rows.clone()),
                    error: self.bounds.error.write(rows.clone()),
                    norm: self.bounds.norm.write(rows),
                },
            }
        }
    }
}
