//! Integer products of single columns of ternary weights with their activations, so that columns
//! whose activation is 0 need not be read.
//!
//! Exact, so an instruction set may compute them in any order it likes. The provided method is
//! plain Rust; an instruction set overrides it.

use crate::microkernel::dot::BlockDot;

/// Rows whose codes of one column share a line of the caches.
pub(crate) const LINE_ROWS: usize = 256;

/// Bytes of a [`Line`], and rows that lie as far apart as the codes of a byte.
pub(crate) const LINE_BYTES: usize = LINE_ROWS / 4;

/// The codes of a column in some adjacent rows: byte `m` holds those of row [`row_of(m)`](row_of)
/// and of the rows 64, 128 and 192 behind it, from its lowest bits on. The lines of a column follow
/// one another.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u8; LINE_BYTES]);

/// The first row of a byte of a line. Where bytes of four columns are brought side by side within
/// quarters of a register of 64 bytes, rows come out in their order.
pub(crate) const fn row_of(byte: usize) -> usize {
    let (quarter, part, i) = (byte / 16, byte / 4 % 4, byte % 4);
    16 * part + 4 * quarter + i
}

/// A column, and the activation that meets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) index: u32,
    pub(crate) q: i8,
}

/// A matrix as columns, `[column][line]`.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'a> {
    pub(crate) lines: &'a [Line],
    /// Lines of a column.
    pub(crate) of_column: usize,
}

impl<'a> Lines<'a> {
    pub(crate) fn column(&self, column: Column) -> &'a [Line] {
        let index = column.index as usize;
        &self.lines[index * self.of_column..(index + 1) * self.of_column]
    }
}

/// Products of columns of an instruction set.
pub(crate) trait ColumnDot: BlockDot {
    /// Adds codes times activations of the listed columns to the sum of each row. Meanwhile the
    /// columns that come next in the list are prefetched.
    #[inline(always)]
    fn add_columns(self, m: Lines<'_>, list: &[Column], sums: &mut [[i32; LINE_ROWS]]) {
        for column in list {
            for (line, sums) in m.column(*column).iter().zip(&mut *sums) {
                for (m, byte) in line.0.into_iter().enumerate() {
                    for place in 0..4 {
                        let code = i32::from(byte >> (2 * place) & 3);
                        sums[place * LINE_BYTES + row_of(m)] += code * i32::from(column.q);
                    }
                }
            }
        }
    }
}
