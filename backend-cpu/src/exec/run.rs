//! One forward pass on one thread of the team: the operations in order, a barrier between any two.
//!
//! Every operation is cut into pieces, and threads take pieces by ticket. A piece writes what no
//! other piece of the operation touches; that, and the barrier, is what the `unsafe` blocks of this
//! folder rest on. Who computes a piece never changes its value.

use std::time::Instant;

use bitnet_kernels::format::Encoding;
use bitnet_kernels::program::{Activation, BufferId, CacheType, Op};

use crate::exec::delta::Gates;
use crate::exec::pass::{Pass, Phase};
use crate::exec::scratch::{PIECE_VALUES, Scratch};
use crate::head::search::Search;
use crate::threads::pool::Team;

impl Pass<'_> {
    /// Runs the pass on one thread of the team. With `search`, the head finds the best logits
    /// instead of writing all of them.
    pub(crate) fn run(&self, team: Team<'_>, search: Option<&Search<'_>>, scratch: &mut Scratch) {
        self.prepare_rotations(Phase { team, index: 0 });
        let clock = self.clock.filter(|_| team.thread == 0);
        let mut start = clock.map(|_| Instant::now());
        for index in self.ops.clone() {
            team.barrier();
            let phase = Phase {
                team,
                index: 1 + index,
            };
            self.step(&self.program.ops[index], phase, search, scratch);
            if let (Some(clock), Some(since)) = (clock, start) {
                let now = Instant::now();
                clock.note(index, now - since);
                start = Some(now);
            }
        }
    }

    fn prepare_rotations(&self, phase: Phase<'_>) {
        for token in self.tickets(phase, self.tokens.len()) {
            let place = self.places[token];
            let capacity = self.caches[&place.cache].positions;
            for rotation in self.rotations {
                // SAFETY: this token's ticket is ours alone.
                let row = unsafe { rotation.table.write(rotation.row(token)) };
                rotation.fill(place.position, capacity, row);
            }
        }
    }

    fn step(&self, op: &Op, phase: Phase<'_>, search: Option<&Search<'_>>, scratch: &mut Scratch) {
        match op {
            Op::Embed { table, scale, out } => {
                let out = self.buffer(*out);
                for token in self.tickets(phase, self.tokens.len()) {
                    // SAFETY: this token's ticket is ours alone.
                    let row =
                        unsafe { out.values.write(token * out.width..(token + 1) * out.width) };
                    let id = self.tokens[token] as usize;
                    self.weights.decode_row(*table, id, &mut scratch.row, row);
                    if *scale != 1.0 {
                        for x in row {
                            *x *= scale;
                        }
                    }
                }
            }
            Op::Norm { x, gain, eps, out } => {
                let gain = self.weights.vector(*gain);
                self.each_row(phase, *x, *out, scratch, |x, normed| {
                    (self.kernels.norm)(x, gain, *eps, normed);
                });
            }
            Op::HeadNorm { x, gain, eps } => {
                let gain = self.weights.vector(*gain);
                let dim = gain.len();
                let count = self.rows(*x) * self.buffer(*x).width / dim;
                for head in self.tickets(phase, count) {
                    let at = head * dim..(head + 1) * dim;
                    // SAFETY: written before the barrier; this head's ticket is ours alone.
                    let head = unsafe { self.buffer(*x).values.write(at) };
                    let plain = &mut scratch.values[..dim];
                    plain.copy_from_slice(head);
                    (self.kernels.norm)(plain, gain, *eps, head);
                }
            }
            Op::Encode { x, out } => {
                self.each_row(phase, *x, *out, scratch, |x, copy| copy.copy_from_slice(x));
            }
            Op::Linear {
                products,
                accumulate,
            } => self.linear(phase, products, *accumulate, scratch),
            Op::GatedLinear {
                gate,
                up,
                activation,
                out,
            } => {
                self.gated(phase, gate, up, *activation, *out, scratch);
            }
            Op::Deinterleave { x, part, outs } => self.deinterleave(phase, *x, *part, *outs),
            Op::Gate {
                x,
                gate,
                activation,
            } => self.gate(phase, *x, *gate, *activation, scratch),
            Op::Convolve {
                x,
                kernel,
                layer,
                out,
            } => self.convolve(phase, [*x, *out], *kernel, *layer, scratch),
            Op::DeltaRule {
                x,
                alpha,
                beta,
                bias,
                rate,
                shape,
                layer,
                out,
            } => {
                let gates = Gates {
                    alpha: *alpha,
                    beta: *beta,
                    bias: *bias,
                    rate: *rate,
                };
                self.delta_rule(phase, [*x, *out], &gates, shape, *layer, scratch);
            }
            Op::Route {
                logits,
                experts,
                chosen,
                shares,
            } => self.route(phase, *logits, *experts, [*chosen, *shares], scratch),
            Op::GatedExperts {
                gate,
                up,
                activation,
                clamp,
                experts,
                chosen,
                out,
            } => {
                let products = [gate, up];
                self.gated_experts(
                    phase,
                    products,
                    *activation,
                    *clamp,
                    *experts,
                    *chosen,
                    *out,
                    scratch,
                );
            }
            Op::ExpertLinear {
                product,
                experts,
                chosen,
                out,
            } => self.expert_linear(phase, product, *experts, *chosen, *out, scratch),
            Op::Mix { x, shares, out } => self.mix(phase, *x, *shares, *out, scratch),
            Op::Rotate {
                x,
                head_dim,
                rotation,
            } => self.rotate(phase, *x, *head_dim, *rotation),
            Op::RopeStore {
                q,
                k,
                v,
                rotation,
                layer,
            } => {
                self.rope_store(phase, [*q, *k, *v], *rotation, *layer, scratch);
            }
            Op::Attention {
                q,
                shape,
                layer,
                out,
            } => match self.program.cache_type {
                CacheType::F16 => {
                    let attend = self.kernels.attend_f16;
                    self.attention(phase, [*q, *out], shape, *layer, scratch, attend, |pages| {
                        &pages.f16
                    });
                }
                CacheType::F32 => {
                    let attend = self.kernels.attend_f32;
                    self.attention(phase, [*q, *out], shape, *layer, scratch, attend, |pages| {
                        &pages.f32
                    });
                }
            },
            Op::Select { x, out } => {
                let (x, out) = (self.buffer(*x), self.buffer(*out));
                for piece in self.tickets(phase, self.selected.len()) {
                    let row = self.selected[piece] as usize;
                    // SAFETY: `x` was written before the barrier; this piece's ticket is ours
                    // alone.
                    unsafe {
                        let from = x.values.read(row * x.width..(row + 1) * x.width);
                        out.values
                            .write(piece * out.width..(piece + 1) * out.width)
                            .copy_from_slice(from);
                    }
                }
            }
            Op::Head { product, logits } => match search {
                Some(search) => {
                    self.find_best(phase, product, *logits, search, scratch);
                }
                None => self.linear(phase, &[(*product, *logits)], false, scratch),
            },
        }
    }

    /// Rows of `x`, part after part to the two buffers in turn.
    fn deinterleave(&self, phase: Phase<'_>, x: BufferId, part: usize, outs: [BufferId; 2]) {
        let x = self.buffer(x);
        let outs = outs.map(|out| self.buffer(out));
        for row in self.tickets(phase, self.tokens.len()) {
            // SAFETY: `x` was written before the barrier; this row's ticket is ours alone.
            let (from, [first, second]) = unsafe {
                (
                    x.values.read(row * x.width..(row + 1) * x.width),
                    outs.map(|out| out.values.write(row * out.width..(row + 1) * out.width)),
                )
            };
            let parts = first
                .chunks_exact_mut(part)
                .zip(second.chunks_exact_mut(part));
            for (from, (first, second)) in from.chunks_exact(2 * part).zip(parts) {
                let (one, two) = from.split_at(part);
                first.copy_from_slice(one);
                second.copy_from_slice(two);
            }
        }
    }

    /// `x = activation(gate) * x`.
    fn gate(
        &self,
        phase: Phase<'_>,
        x: BufferId,
        gate: BufferId,
        activation: Activation,
        scratch: &mut Scratch,
    ) {
        let len = self.rows(x) * self.buffer(x).width;
        let (x, gate) = (self.buffer(x), self.buffer(gate));
        for piece in self.tickets(phase, len.div_ceil(PIECE_VALUES)) {
            let at = piece * PIECE_VALUES..len.min((piece + 1) * PIECE_VALUES);
            // SAFETY: written before the barrier; these values' ticket is ours alone.
            let (gate, x) = unsafe { (gate.values.read(at.clone()), x.values.write(at)) };
            let plain = &mut scratch.values[..x.len()];
            plain.copy_from_slice(x);
            (self.kernels.gate)(activation, gate, plain, x);
        }
    }

    /// Applies `f(row, result)` to each row of `x` and stores the result in the encoding of `out`.
    fn each_row(
        &self,
        phase: Phase<'_>,
        x: BufferId,
        out: BufferId,
        scratch: &mut Scratch,
        f: impl Fn(&[f32], &mut [f32]),
    ) {
        let rows = self.rows(out);
        let (x, out) = (self.buffer(x), self.buffer(out));
        let width = out.width;
        for row in self.tickets(phase, rows) {
            let at = row * width..(row + 1) * width;
            // SAFETY: `x` was written before the barrier.
            let from = unsafe { x.values.read(at.clone()) };
            if out.encoding == Encoding::F32 {
                // SAFETY: this row's ticket is ours alone.
                f(from, unsafe { out.values.write(at) });
                continue;
            }
            let result = &mut scratch.values[..width];
            f(from, result);
            let per_row = out.scales_per_row();
            let scales = row * per_row..(row + 1) * per_row;
            // SAFETY: this row's ticket is ours alone.
            let (q, d, sums) = unsafe {
                (
                    out.q.write(at),
                    out.scales.write(scales.clone()),
                    out.sums.write(scales),
                )
            };
            (self.kernels.encode)(out.encoding, result, q, d);
            for (sum, q) in sums.iter_mut().zip(q.chunks_exact(width / per_row)) {
                *sum = q.iter().map(|q| i32::from(*q)).sum();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bitnet_fixtures::{ProgramBuilder, Transformer};
    use bitnet_kernels::format::plain;
    use bitnet_kernels::program::Rows;
    use bitnet_kernels::{Batch, Format, Forward, Inspect, Output, Segment, Want, oracle};

    use super::*;
    use crate::backend::{CpuBackend, CpuOptions};
    use crate::exec::alone::ran;
    use crate::isa::Isa;

    #[test]
    fn heads_are_normed_as_the_oracle_does() {
        let (tokens, heads, eps) = (3, 5, 1e-5);
        for dim in [1, 16, 20, 128] {
            let width = heads * dim;
            let gain: Vec<f32> = (0..dim).map(|i| 1.5 - i as f32 / 100.0).collect();
            let x: Vec<f32> = (0..tokens * width)
                .map(|i| (i as f32 * 0.37).sin() * 9.0)
                .collect();
            let mut b = ProgramBuilder::new(0);
            let q = b.buffer("q", width, Encoding::F32, Rows::Batch);
            let mut packed = Vec::new();
            plain::pack_f32(&gain, &mut packed);
            let weight = b.packed("gain", Format::F32, (1, dim), &packed);
            b.op(Op::HeadNorm {
                x: q,
                gain: weight,
                eps,
            });
            let (program, weights) = b.finish();
            let wanted: Vec<f32> = x
                .chunks(dim)
                .flat_map(|head| oracle::norm(head, &gain, eps))
                .collect();
            for isa in Isa::available() {
                let (program, weights) = (program.clone(), weights.clone());
                let mut backend = ran(program, weights, (isa, 2), tokens, &[(q, &x)]);
                let found = backend.read(q, tokens).expect("a result");
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&found), bits(&wanted), "{isa}, heads of {dim}");
            }
        }
    }

    #[test]
    fn a_pass_gives_the_same_bits_on_any_number_of_threads() {
        // As small as a model can be, since Miri runs this as well.
        let model = Transformer {
            layers: 1,
            hidden: 128,
            ffn: 128,
            heads: 2,
            kv_heads: 1,
            vocabulary: 70,
            embedding: Format::F32,
            ..Transformer::TINY
        };
        let tokens = [3, 69, 12];
        let logits = [1, 3].map(|threads| {
            let (program, weights) = model.program();
            let options = CpuOptions {
                threads: Some(threads),
                isa: Some(Isa::Scalar),
            };
            let mut backend = CpuBackend::load(program, weights, options).expect("it loads");
            let cache = backend.create_cache(tokens.len()).expect("a cache");
            let batch = Batch {
                tokens: &tokens,
                segments: &[Segment {
                    cache,
                    start: 0,
                    len: tokens.len(),
                }],
                selected: &[2],
            };
            let mut out = Output::default();
            backend
                .forward(&batch, Want::Logits, &mut out)
                .expect("it runs");
            out.logits
        });
        assert_eq!(logits[0], logits[1]);
        assert!(logits[0].iter().any(|logit| *logit != logits[0][0]));
    }
}
