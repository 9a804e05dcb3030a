//! Matrix products: pieces of rows, for all tokens at once.

use bitnet_kernels::program::{Activation, BufferId, Product};

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
        let piece_rows = piece_rows(all, tokens.max().unwrap_or(0), self.threads);
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
        let tokens = self.rows(gate.x);
        let piece_rows = piece_rows(width, tokens, self.threads);
        for piece in self.tickets(phase, width.div_ceil(piece_rows)) {
            let rows = piece * piece_rows..((piece + 1) * piece_rows).min(width);
            let len = tokens * rows.len();
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
