//! The experts of a mixture: who computes a token, products with the matrices of those that were
//! chosen, and the sum of their results.
//!
//! Rows are grouped by expert. An expert's matrices are read once for all rows that are routed to
//! it, and not at all where there are none.

use std::ops::Range;

use bitnet_kernels::oracle;
use bitnet_kernels::program::{Activation, BufferId, Experts, Product, Rows};

use crate::exec::groups::{Gathered, Groups};
use crate::exec::pass::{Pass, scale};
use crate::exec::pieces::rows_of;
use crate::exec::scratch::Scratch;
use crate::generic::gemm::Panel;
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::threads::tickets::Pieces;

/// Some rows of the matrices of one expert, and the routed rows that meet them.
struct Piece<'a> {
    expert: usize,
    outputs: Range<usize>,
    rows: &'a [usize],
}

impl Pass<'_> {
    pub(super) fn route(
        &self,
        pieces: &mut Pieces<'_>,
        logits: BufferId,
        experts: Experts,
        [chosen, shares]: [BufferId; 2],
        scratch: &mut Scratch,
    ) {
        let [logits, chosen, shares] = [logits, chosen, shares].map(|id| self.buffer(id));
        let Experts { count, used } = experts;
        for token in rows_of(pieces, self.tokens.len(), count) {
            let at = token * used..(token + 1) * used;
            // SAFETY: logits were written by an earlier operation; this token's ticket is ours
            // alone.
            let (logits, chosen, shares) = unsafe {
                (
                    logits.values.read(token * count..(token + 1) * count),
                    chosen.values.write(at.clone()),
                    shares.values.write(at),
                )
            };
            scratch.best.start(used);
            scratch.best.extend(0, logits);
            let best = scratch.best.list();
            oracle::shares(logits, best, shares);
            for (chosen, expert) in chosen.iter_mut().zip(best) {
                *chosen = expert.id as f32;
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of the operation")]
    pub(super) fn gated_experts(
        &self,
        pieces: &mut Pieces<'_>,
        [gate, up]: [&Product; 2],
        activation: Activation,
        clamp: Option<f32>,
        experts: Experts,
        chosen: BufferId,
        out: BufferId,
        scratch: &mut Scratch,
    ) {
        let out = self.buffer(out);
        let width = out.width;
        let Scratch {
            groups,
            gathered: [gate_x, up_x],
            results,
            ups,
            panel,
            ..
        } = scratch;
        let products = [(gate, gate_x), (up, up_x)];
        self.expert_pieces(
            pieces,
            products,
            experts,
            chosen,
            width,
            groups,
            |piece, x| {
                let len = piece.rows.len() * piece.outputs.len();
                let (gates, ups) = (&mut results[..len], &mut ups[..len]);
                self.expert_rows(gate, experts, &piece, x[0], panel, gates);
                self.expert_rows(up, experts, &piece, x[1], panel, ups);
                if let Some(limit) = clamp {
                    for (gate, up) in gates.iter_mut().zip(ups.iter_mut()) {
                        (*gate, *up) = oracle::clamped(*gate, *up, limit);
                    }
                }
                let count = piece.outputs.len();
                let results = gates.chunks_exact(count).zip(ups.chunks_exact(count));
                for (row, (gate, up)) in piece.rows.iter().zip(results) {
                    let at = row * width + piece.outputs.start..row * width + piece.outputs.end;
                    // SAFETY: these outputs of this expert's rows have a ticket, which is ours.
                    (self.kernels.gate)(activation, gate, up, unsafe { out.values.write(at) });
                }
            },
        );
    }

    pub(super) fn expert_linear(
        &self,
        pieces: &mut Pieces<'_>,
        product: &Product,
        experts: Experts,
        chosen: BufferId,
        out: BufferId,
        scratch: &mut Scratch,
    ) {
        let out = self.buffer(out);
        let width = out.width;
        let Scratch {
            groups,
            gathered: [gathered, _],
            results,
            panel,
            ..
        } = scratch;
        let products = [(product, gathered)];
        self.expert_pieces(
            pieces,
            products,
            experts,
            chosen,
            width,
            groups,
            |piece, x| {
                let results = &mut results[..piece.rows.len() * piece.outputs.len()];
                self.expert_rows(product, experts, &piece, x[0], panel, results);
                let results = results.chunks_exact(piece.outputs.len());
                for (row, results) in piece.rows.iter().zip(results) {
                    let at = row * width + piece.outputs.start..row * width + piece.outputs.end;
                    // SAFETY: these outputs of this expert's rows have a ticket, which is ours.
                    unsafe { out.values.write(at) }.copy_from_slice(results);
                }
            },
        );
    }

    pub(super) fn mix(
        &self,
        pieces: &mut Pieces<'_>,
        x: BufferId,
        shares: BufferId,
        out: BufferId,
        scratch: &mut Scratch,
    ) {
        let [x, shares, out] = [x, shares, out].map(|id| self.buffer(id));
        let (width, used) = (out.width, shares.width);
        for token in rows_of(pieces, self.tokens.len(), width * used) {
            let rows = token * used..(token + 1) * used;
            // SAFETY: written by earlier operations; this token's ticket is ours alone.
            let (rows, shares, out) = unsafe {
                (
                    x.values.read(rows.start * width..rows.end * width),
                    shares.values.read(rows),
                    out.values.write(token * width..(token + 1) * width),
                )
            };
            let sum = &mut scratch.values[..width];
            let mut rows = rows.chunks_exact(width).zip(shares);
            if let Some((row, share)) = rows.next() {
                for (sum, x) in sum.iter_mut().zip(row) {
                    *sum = x * share;
                }
            }
            for (row, share) in rows {
                for (sum, x) in sum.iter_mut().zip(row) {
                    *sum += x * share;
                }
            }
            for (out, sum) in out.iter_mut().zip(sum) {
                *out += *sum;
            }
        }
    }

    /// Groups the rows by expert. How many rows of an expert's matrix are in a piece, and how many
    /// pieces it has.
    fn cut_experts(
        &self,
        experts: Experts,
        chosen: BufferId,
        width: usize,
        groups: &mut Groups,
    ) -> (usize, usize) {
        let routed = self.tokens.len() * experts.used;
        // SAFETY: written by an earlier operation.
        let chosen = unsafe { self.buffer(chosen).values.read(0..routed) };
        groups.make(chosen, experts.count);
        let rows = self.piece_rows(groups.busy().len() * width, self.tokens.len());
        (rows, width.div_ceil(rows))
    }

    /// Pieces of an operation on the experts of each token that makes rows of `out`.
    pub(super) fn expert_operation_pieces(
        &self,
        experts: Experts,
        chosen: BufferId,
        out: BufferId,
        groups: &mut Groups,
    ) -> usize {
        let width = self.buffer(out).width;
        let (_, of_expert) = self.cut_experts(experts, chosen, width, groups);
        groups.busy().len() * of_expert
    }

    /// Calls `compute` for each of these pieces, with the activations that its rows have for each
    /// product, gathered.
    #[expect(clippy::too_many_arguments, reason = "the parts of the operations")]
    fn expert_pieces<const N: usize>(
        &self,
        pieces: &mut Pieces<'_>,
        products: [(&Product, &mut Gathered); N],
        experts: Experts,
        chosen: BufferId,
        width: usize,
        groups: &mut Groups,
        mut compute: impl FnMut(Piece<'_>, [Encoded<'_>; N]),
    ) {
        let (piece_rows, of_expert) = self.cut_experts(experts, chosen, width, groups);
        let x = products
            .each_ref()
            .map(|(product, _)| self.encoded(product));
        let mut products = products;
        let mut gathered_for = None;
        for ticket in pieces {
            let (expert, piece) = (groups.busy()[ticket / of_expert], ticket % of_expert);
            let rows = groups.of(expert);
            if gathered_for.replace(expert) != Some(expert) {
                for ((product, gathered), x) in products.iter_mut().zip(&x) {
                    let own_row = match self.program.buffer(product.x).rows {
                        Rows::Routed { .. } => 1,
                        Rows::Batch | Rows::Selected => experts.used,
                    };
                    gathered.fill(x, rows.iter().map(|row| row / own_row));
                }
            }
            let mut encoded = x;
            for (encoded, (_, gathered)) in encoded.iter_mut().zip(&products) {
                *encoded = gathered.like(encoded);
            }
            let outputs = piece * piece_rows..((piece + 1) * piece_rows).min(width);
            compute(
                Piece {
                    expert,
                    outputs,
                    rows,
                },
                encoded,
            );
        }
    }

    /// Computes a piece of a product into `out`, `[rows, outputs]`.
    fn expert_rows(
        &self,
        product: &Product,
        experts: Experts,
        piece: &Piece<'_>,
        x: Encoded<'_>,
        panel: &mut Panel,
        out: &mut [f32],
    ) {
        let all = self.matrix(product);
        let desc = self.program.weight(product.weight);
        let bytes = desc.rows / experts.count * all.stride;
        let matrix = MatrixRef {
            bytes: &all.bytes[piece.expert * bytes..(piece.expert + 1) * bytes],
            ..all
        };
        let count = piece.rows.len();
        let kernel = self.kernels.product(desc.format, count);
        let outputs = piece.outputs.clone();
        (kernel.run)(&matrix, outputs, &x, 0..count, panel, out);
        scale(product, out);
    }
}

#[cfg(test)]
mod tests {
    use bitnet_fixtures::program::product;
    use bitnet_fixtures::{Noise, ProgramBuilder};
    use bitnet_kernels::format::Encoding;
    use bitnet_kernels::program::Op;
    use bitnet_kernels::{Format, Inspect};

    use super::*;
    use crate::exec::alone::ran;
    use crate::isa::Isa;

    const HIDDEN: usize = 256;
    const WIDTH: usize = 512;
    const EXPERTS: Experts = Experts { count: 5, used: 2 };
    const LIMIT: f32 = 0.75;
    const ACTIVATION: Activation = Activation::Silu;

    /// The rows of all experts' matrices, each row with scales of its own.
    fn matrices(noise: &mut Noise, rows: usize, cols: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..EXPERTS.count * rows {
            let trits: Vec<i8> = (0..cols).map(|_| noise.below(3) as i8 - 1).collect();
            let scale = 0.05 + 0.05 * noise.even().abs();
            Format::TQ2_0.pack_trits(&trits, scale, &mut bytes);
        }
        bytes
    }

    fn times(matrices: &[u8], rows: usize, expert: u32, x: &[f32], scale: f32) -> Vec<f32> {
        let stride = Format::TQ2_0.row_bytes(x.len()).expect("whole blocks");
        let own = matrices.chunks(stride).skip(expert as usize * rows);
        let of = |row| oracle::product(Format::TQ2_0, row, 1.0, x) * scale;
        own.take(rows).map(of).collect()
    }

    #[test]
    fn experts_compute_as_the_oracle_does() {
        let mut noise = Noise::new(11);
        let [gate, up] = [(); 2].map(|()| matrices(&mut noise, WIDTH, HIDDEN));
        let down = matrices(&mut noise, HIDDEN, WIDTH);
        let routed = Rows::Routed {
            experts: EXPERTS.used,
        };
        let mut b = ProgramBuilder::new(0);
        let h = b.buffer("h", HIDDEN, Encoding::F32, Rows::Batch);
        let x = b.buffer("x", HIDDEN, Encoding::Q8K, Rows::Batch);
        let logits = b.buffer("logits", EXPERTS.count, Encoding::F32, Rows::Batch);
        let chosen = b.buffer("chosen", EXPERTS.used, Encoding::F32, Rows::Batch);
        let shares = b.buffer("shares", EXPERTS.used, Encoding::F32, Rows::Batch);
        let gated = b.buffer("gated", WIDTH, Encoding::F32, routed);
        let y = b.buffer("y", WIDTH, Encoding::Q8K, routed);
        let results = b.buffer("results", HIDDEN, Encoding::F32, routed);
        let mut all = |name, rows, cols, bytes: &[u8]| {
            b.packed(name, Format::TQ2_0, (EXPERTS.count * rows, cols), bytes)
        };
        let gates = all("gate", WIDTH, HIDDEN, &gate);
        let ups = all("up", WIDTH, HIDDEN, &up);
        let downs = all("down", HIDDEN, WIDTH, &down);
        b.op(Op::Encode { x: h, out: x })
            .op(Op::Route {
                logits,
                experts: EXPERTS,
                chosen,
                shares,
            })
            .op(Op::GatedExperts {
                gate: product(x, gates),
                up: Product {
                    scale: 0.5,
                    ..product(x, ups)
                },
                activation: ACTIVATION,
                clamp: Some(LIMIT),
                experts: EXPERTS,
                chosen,
                out: gated,
            })
            .op(Op::Encode { x: gated, out: y })
            .op(Op::ExpertLinear {
                product: product(y, downs),
                experts: EXPERTS,
                chosen,
                out: results,
            })
            .op(Op::Mix {
                x: results,
                shares,
                out: h,
            });
        let (program, weights) = b.finish();
        let result = |h: &[f32], router: &[f32]| -> Vec<f32> {
            let taken = oracle::route(router, EXPERTS.used);
            let of = |expert| {
                let gates = times(&gate, WIDTH, expert, h, 1.0);
                let ups = times(&up, WIDTH, expert, h, 0.5);
                let pairs = gates.iter().zip(ups);
                let gated = pairs.map(|(gate, up)| {
                    let (gate, up) = oracle::clamped(*gate, up, LIMIT);
                    oracle::gated(ACTIVATION, gate, up)
                });
                times(&down, HIDDEN, expert, &gated.collect::<Vec<_>>(), 1.0)
            };
            let rows: Vec<Vec<f32>> = taken.iter().map(|(expert, _)| of(*expert)).collect();
            let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
            let shares: Vec<f32> = taken.iter().map(|(_, share)| *share).collect();
            let sum = oracle::mix(&rows, &shares);
            h.iter().zip(sum).map(|(h, sum)| h + sum).collect()
        };
        for tokens in [1, 2, 70] {
            let inputs = noise.normals(tokens * HIDDEN);
            let routers = noise.evens(tokens * EXPERTS.count);
            let rows = inputs.chunks(HIDDEN).zip(routers.chunks(EXPERTS.count));
            let wanted: Vec<f32> = rows.flat_map(|(h, router)| result(h, router)).collect();
            let isas = Isa::available().into_iter();
            for (isa, threads) in isas.flat_map(|isa| [(isa, 1), (isa, 3)]) {
                let (program, weights) = (program.clone(), weights.clone());
                let inputs = [(h, &inputs[..]), (logits, &routers)];
                let mut backend = ran(program, weights, (isa, threads), tokens, &inputs);
                let found = backend.read(h, tokens).expect("results");
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&found), bits(&wanted), "{isa}, {tokens} tokens");
            }
        }
    }
}
