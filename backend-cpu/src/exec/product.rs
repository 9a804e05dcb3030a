//! Matrix products: pieces of rows, for all tokens at once.

use bitnet_kernels::program::{Activation, BufferId, Product};

use crate::exec::pass::{Pass, Phase};
use crate::exec::scratch::{FEW_TOKENS, MAX_PIECE_ROWS, PIECE_ROWS, Scratch};

/// Pieces that each thread should find in an operation, so that none waits long for the last one.
const PIECES_PER_THREAD: usize = 4;

impl Pass<'_> {
    /// Rows in a piece of an operation that makes `total` of them for `tokens`.
    fn piece_rows(&self, total: usize, tokens: usize) -> usize {
        let mut rows = PIECE_ROWS;
        while tokens <= FEW_TOKENS
            && rows < MAX_PIECE_ROWS
            && total >= 2 * rows * PIECES_PER_THREAD * self.threads
        {
            rows *= 2;
        }
        rows
    }

    pub(super) fn linear(
        &self,
        phase: Phase<'_>,
        products: &[(Product, BufferId)],
        accumulate: bool,
        scratch: &mut Scratch,
    ) {
        let outputs = |product: &Product| self.program.weight(product.weight).rows;
        let all = products.iter().map(|(product, _)| outputs(product)).sum();
        let tokens = products
            .first()
            .map_or(0, |(product, _)| self.rows(product.x));
        let piece_rows = self.piece_rows(all, tokens);
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
            let width = self.program.weight(product.weight).rows;
            let rows = piece * piece_rows..((piece + 1) * piece_rows).min(width);
            let results = &mut scratch.results[..self.rows(product.x) * rows.len()];
            self.product_rows(product, rows.clone(), &mut scratch.panel, results);
            let out = self.buffer(out);
            for (token, y) in results.chunks_exact(rows.len()).enumerate() {
                let at = token * width + rows.start..token * width + rows.end;
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
    }

    pub(super) fn gated(
        &self,
        phase: Phase<'_>,
        gate: &Product,
        up: &Product,
        activation: Activation,
        out: BufferId,
        scratch: &mut Scratch,
    ) {
        let out = self.buffer(out);
        let width = out.width;
        let piece_rows = self.piece_rows(width, self.tokens.len());
        for piece in self.tickets(phase, width.div_ceil(piece_rows)) {
            let rows = piece * piece_rows..((piece + 1) * piece_rows).min(width);
            let len = self.tokens.len() * rows.len();
            let panel = &mut scratch.panel;
            self.product_rows(gate, rows.clone(), panel, &mut scratch.results[..len]);
            self.product_rows(up, rows.clone(), panel, &mut scratch.ups[..len]);
            let gates = scratch.results[..len].chunks_exact(rows.len());
            for (token, (gate, up)) in gates.zip(scratch.ups.chunks_exact(rows.len())).enumerate() {
                let at = token * width + rows.start..token * width + rows.end;
                // SAFETY: these rows' ticket is ours alone.
                (self.kernels.gate)(activation, gate, up, unsafe { out.values.write(at) });
            }
        }
    }
}
