//! Products with one token by columns, of which those that meet zeros are left out; see
//! [`Columns`](super::columns::Columns).
//!
//! Each thread adds the products of its pieces, which are integers, up for all rows; when all
//! pieces are done, one thread adds up what the others have.

use std::ops::Range;
use std::sync::atomic::Ordering;

use bitnet_kernels::program::{BufferId, Product};

use crate::exec::columns::Matrix;
use crate::exec::pass::{Pass, scale};
use crate::exec::scratch::Scratch;
use crate::generic::columns::lines;
use crate::memory::pages::Pages;
use crate::microkernel::columns::{Column, LINE_BYTES, LINE_ROWS, Line, Lines};
use crate::microkernel::gemm::GROUP;
use crate::threads::tickets::Pieces;

/// Pieces that each thread should find.
const PIECES_PER_THREAD: usize = 4;

/// The places of a piece from which columns are taken in turn: a core that reads from
/// several places at once gets more of the memory's bandwidth.
const STREAMS: usize = 4;

/// Columns in a piece are a multiple of this.
const PIECE_COLUMNS: usize = 16;

impl Matrix {
    /// Columns in a piece.
    fn piece_columns(&self, threads: usize) -> usize {
        let columns = self.cols.div_ceil(PIECES_PER_THREAD * threads);
        columns.next_multiple_of(PIECE_COLUMNS)
    }

    /// Pieces of a product by columns.
    pub(super) fn pieces(&self, threads: usize) -> usize {
        self.cols.div_ceil(self.piece_columns(threads))
    }

    /// The part of [`Columns::sums`](super::columns::Columns) of who came as the `n`th.
    fn sums_of(&self, n: usize) -> Range<usize> {
        let rows = self.of_column() * LINE_ROWS;
        n * rows..(n + 1) * rows
    }
}

impl Pass<'_> {
    /// Pieces of a product with one token by columns.
    pub(super) fn by_columns(
        &self,
        pieces: &mut Pieces<'_>,
        matrix: &Matrix,
        copy: &Pages<Line>,
        product: &Product,
        scratch: &mut Scratch,
    ) {
        let x = self.encoded(product);
        let of_column = matrix.of_column();
        let place = matrix.adding.fetch_add(1, Ordering::Relaxed);
        // SAFETY: nobody else came as this one, and this thread reports its pieces afterwards.
        let sums = unsafe { self.columns.sums.write(matrix.sums_of(place)) };
        sums.fill(0);
        let (sums, _) = sums.as_chunks_mut();
        let lines = Lines {
            // SAFETY: made in an earlier pass.
            lines: unsafe { copy.read(0..matrix.cols * of_column) },
            of_column,
        };
        let len = matrix.piece_columns(self.threads);
        let Scratch { columns, taken, .. } = scratch;
        for piece in pieces {
            let range = piece * len..matrix.cols.min((piece + 1) * len);
            columns.clear();
            let all = (range.start as u32..).zip(&x.q(0)[range]);
            let needed = all.filter(|(_, q)| **q != 0);
            columns.extend(needed.map(|(index, q)| Column { index, q: *q }));
            let stream = columns.len().div_ceil(STREAMS);
            taken.clear();
            for i in 0..stream {
                taken.extend(columns.iter().skip(i).step_by(stream));
            }
            (matrix.kernels.add)(lines, taken, sums);
        }
    }

    /// What is left of a product with one token when all its pieces are done: the results, if it
    /// was by columns, and in any case how many columns it needed.
    pub(super) fn after_columns(
        &self,
        matrix: &Matrix,
        product: &Product,
        (out, accumulate): (BufferId, bool),
        scratch: &mut Scratch,
    ) {
        let x = self.encoded(product);
        let needed = x.q(0).iter().filter(|q| **q != 0).count();
        matrix.seen.store(needed, Ordering::Relaxed);
        if matrix.chosen().is_none() {
            return;
        }
        // SAFETY: whoever added up columns has reported that.
        let sums = unsafe { self.columns.sums.write(matrix.sums_of(0)) };
        for place in 1..matrix.adding.load(Ordering::Relaxed) {
            // SAFETY: as above.
            let others = unsafe { self.columns.sums.read(matrix.sums_of(place)) };
            for (sum, other) in sums.iter_mut().zip(others) {
                *sum += other;
            }
        }
        let results = &mut scratch.values[..matrix.rows];
        let weights = self.matrix(product);
        let (sums, _) = sums.as_chunks();
        (matrix.kernels.finish)(&weights, sums, &x, 0, results);
        scale(product, results);
        self.put(out, 0, 0..matrix.rows, results, accumulate);
        let read = needed * matrix.of_column() * LINE_BYTES;
        scratch.skipped += (matrix.rows * weights.stride).saturating_sub(read) as u64;
    }

    /// Makes the part of a copy that stands for some rows, which are those of a line.
    pub(super) fn make_columns(&self, matrix: &Matrix, rows: Range<usize>) {
        let Some(copy) = matrix.copy.as_ref().filter(|_| matrix.making().is_some()) else {
            return;
        };
        let weights = self.weights.matrix(matrix.weight);
        let mut made = [Line([0; LINE_BYTES]); GROUP];
        for group in 0..matrix.cols / GROUP {
            lines(&weights, rows.clone(), group, &mut made);
            for (i, line) in made.iter().enumerate() {
                let at = (group * GROUP + i) * matrix.of_column() + rows.start / LINE_ROWS;
                // SAFETY: the piece of these rows is this thread's alone, and nobody reads the copy
                // in the pass that makes it.
                unsafe { copy.write(at..at + 1) }.fill(*line);
            }
        }
    }
}
