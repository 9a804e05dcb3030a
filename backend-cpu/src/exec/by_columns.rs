//! Products with one token by columns, of which those that meet zeros are left out; see
//! [`Columns`](super::columns::Columns).
//!
//! Each thread takes pieces of the list of the other columns and adds their products, which are
//! integers, up for all rows; the thread that is done last adds up what the others have, so that
//! nobody waits.

use std::ops::Range;
use std::sync::atomic::Ordering;

use bitnet_kernels::program::{BufferId, Product};

use crate::exec::columns::Matrix;
use crate::exec::pass::{Pass, Phase, scale};
use crate::exec::scratch::Scratch;
use crate::generic::columns::lines;
use crate::microkernel::columns::{Column, LINE_BYTES, LINE_ROWS, Line, Lines};
use crate::microkernel::gemm::GROUP;

/// Pieces of the list of columns that each thread should find.
const PIECES_PER_THREAD: usize = 4;

/// The places of a piece of the list from which columns are taken in turn: a core that reads from
/// several places at once gets more of the memory's bandwidth.
const STREAMS: usize = 4;

/// Columns in a piece are a multiple of this.
const PIECE_COLUMNS: usize = 16;

impl Pass<'_> {
    /// A product with one token by columns; whether that is possible and pays. If not, the rows are
    /// to be read.
    pub(super) fn by_columns(
        &self,
        phase: Phase<'_>,
        matrix: &Matrix,
        product: &Product,
        (out, accumulate): (BufferId, bool),
        scratch: &mut Scratch,
    ) -> bool {
        let x = self.encoded(product);
        let list = &mut scratch.columns;
        list.clear();
        let all = (0..).zip(x.q(0));
        list.extend(
            all.filter(|(_, q)| **q != 0)
                .map(|(index, q)| Column { index, q: *q }),
        );
        if phase.team.thread == 0 {
            matrix.seen.store(list.len(), Ordering::Relaxed);
        }
        let Some(copy) = matrix.ready(list.len()) else {
            return false;
        };
        let of_column = matrix.of_column();
        let rows = of_column * LINE_ROWS;
        let sums_of = |thread: usize| thread * rows..(thread + 1) * rows;
        // SAFETY: this thread's alone, until it says that it is done.
        let sums = unsafe { self.columns.sums.write(sums_of(phase.team.thread)) };
        sums.fill(0);
        let (sums, _) = sums.as_chunks_mut();
        let lines = Lines {
            // SAFETY: made in an earlier pass.
            lines: unsafe { copy.read(0..matrix.cols * of_column) },
            of_column,
        };
        let len = list.len().div_ceil(PIECES_PER_THREAD * self.threads);
        let len = len.next_multiple_of(PIECE_COLUMNS).max(PIECE_COLUMNS);
        for piece in self.tickets(phase, list.len().div_ceil(len)) {
            let piece = &list[piece * len..list.len().min((piece + 1) * len)];
            let stream = piece.len().div_ceil(STREAMS);
            let taken = &mut scratch.taken;
            taken.clear();
            for i in 0..stream {
                taken.extend(piece.iter().skip(i).step_by(stream));
            }
            (matrix.kernels.add)(lines, taken, sums);
        }
        if matrix.done.fetch_add(1, Ordering::AcqRel) + 1 < self.threads {
            return true;
        }
        for thread in (0..self.threads).filter(|thread| *thread != phase.team.thread) {
            // SAFETY: that thread has said that it is done.
            let others = unsafe { self.columns.sums.read(sums_of(thread)) };
            for (sum, other) in sums.as_flattened_mut().iter_mut().zip(others) {
                *sum += other;
            }
        }
        let results = &mut scratch.values[..matrix.rows];
        let weights = self.matrix(product);
        (matrix.kernels.finish)(&weights, sums, &x, 0, results);
        scale(product, results);
        self.put(out, 0, 0..matrix.rows, results, accumulate);
        let read = list.len() * of_column * LINE_BYTES;
        scratch.skipped += (matrix.rows * weights.stride).saturating_sub(read) as u64;
        true
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
