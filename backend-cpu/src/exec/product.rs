//! Matrix products: pieces of rows, for all tokens at once.

use std::ops::Range;

use bitnet_kernels::program::{BufferId, Product};

use crate::exec::pass::{Pass, Phase};
use crate::exec::pieces::piece_rows;
use crate::exec::scratch::Scratch;

impl Pass<'_> {
    pub(super) fn linear(
        &self,
        phase: Phase<'_>,
        products: &[(Product, BufferId)],
        accumulate: bool,
        scratch: &mut Scratch,
    ) {
        let outputs = |product: &Product| self.program.weight(product.weight).rows;
        let all = products.iter().map(|(product, _)| outputs(product)).sum();
        let tokens = products.iter().map(|(product, _)| self.rows(product.x));
        let tokens = tokens.max().unwrap_or(0);
        let columns = match products {
            [(product, _)] if tokens == 1 => self.columns.find(product.weight),
            _ => None,
        };
        if let (Some(columns), [(product, out)]) = (columns, products)
            && self.by_columns(phase, columns, product, (*out, accumulate), scratch)
        {
            return;
        }
        let making = columns.and_then(|columns| columns.making());
        let piece_rows = making.unwrap_or_else(|| piece_rows(all, tokens, self.threads));
        let pieces = |product: &Product| outputs(product).div_ceil(piece_rows);
        let total = products.iter().map(|(product, _)| pieces(product)).sum();
        for ticket in self.tickets(phase, total) {
            let mut piece = ticket;
            let mut products = products.iter();
            let (product, out) = loop {
                let Some((product, out)) = products.next() else {
                    return;
                };
                if piece < pieces(product) {
                    break (product, *out);
                }
                piece -= pieces(product);
            };
            let width = outputs(product);
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
