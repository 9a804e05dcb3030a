//! Matrix products: pieces of rows, for all tokens at once.

use std::ops::Range;

use bitnet_kernels::program::{BufferId, Product};

use crate::exec::columns::Matrix;
use crate::exec::pass::Pass;
use crate::exec::scratch::Scratch;
use crate::threads::tickets::Pieces;

impl Pass<'_> {
    /// The matrix of these products if it is a single one that can be read by columns, and there is
    /// one token.
    pub(super) fn columns_of(&self, products: &[(Product, BufferId)]) -> Option<&Matrix> {
        match products {
            [(product, _)] if self.rows(product.x) == 1 => self.columns.find(product.weight),
            _ => None,
        }
    }

    /// Rows in a piece of these products, and how many pieces there are.
    fn cut(&self, products: &[(Product, BufferId)]) -> (usize, usize) {
        let outputs = |product: &Product| self.program.weight(product.weight).rows;
        let all = products.iter().map(|(product, _)| outputs(product)).sum();
        let tokens = products.iter().map(|(product, _)| self.rows(product.x));
        let columns = self.columns_of(products);
        let rows = columns
            .and_then(Matrix::making)
            .unwrap_or_else(|| self.piece_rows(all, tokens.max().unwrap_or(0)));
        let pieces = products.iter();
        let pieces = pieces.map(|(product, _)| outputs(product).div_ceil(rows));
        (rows, pieces.sum())
    }

    pub(super) fn linear_pieces(&self, products: &[(Product, BufferId)]) -> usize {
        match self.columns_of(products) {
            Some(matrix) if matrix.chosen().is_some() => matrix.pieces(self.threads),
            _ => self.cut(products).1,
        }
    }

    pub(super) fn linear(
        &self,
        pieces: &mut Pieces<'_>,
        products: &[(Product, BufferId)],
        accumulate: bool,
        scratch: &mut Scratch,
    ) {
        let columns = self.columns_of(products);
        if let (Some(matrix), [(product, _)]) = (columns, products)
            && let Some(copy) = matrix.chosen()
        {
            self.by_columns(pieces, matrix, copy, product, scratch);
            return;
        }
        let (piece_rows, _) = self.cut(products);
        for mut piece in pieces {
            let of = |product: &Product| {
                let rows = self.program.weight(product.weight).rows;
                (rows, rows.div_ceil(piece_rows))
            };
            let mut products = products.iter();
            let (product, out, width) = loop {
                let Some((product, out)) = products.next() else {
                    return;
                };
                let (rows, pieces) = of(product);
                if piece < pieces {
                    break (product, *out, rows);
                }
                piece -= pieces;
            };
            let rows = piece * piece_rows..((piece + 1) * piece_rows).min(width);
            let results = &mut scratch.results[..self.rows(product.x) * rows.len()];
            self.product_rows(product, rows.clone(), &mut scratch.panel, results);
            for (token, y) in results.chunks_exact(rows.len()).enumerate() {
                self.put(out, token, rows.clone(), y, accumulate);
            }
            if let Some(columns) = columns {
                self.make_columns(columns, rows);
            }
        }
    }

    /// Puts the results of the rows of a piece, which is this thread's, into a token's row of a
    /// buffer, or adds them to it.
    pub(super) fn put(
        &self,
        out: BufferId,
        token: usize,
        rows: Range<usize>,
        y: &[f32],
        accumulate: bool,
    ) {
        let out = self.buffer(out);
        let at = token * out.width + rows.start..token * out.width + rows.end;
        // SAFETY: these rows' ticket is ours alone.
        let into = unsafe { out.values.write(at) };
        if accumulate {
            for (into, y) in into.iter_mut().zip(y) {
                *into += y;
            }
        } else {
            into.copy_from_slice(y);
        }
    }
}
