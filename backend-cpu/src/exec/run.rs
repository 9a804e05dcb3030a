//! One forward pass: the operations in order.
//!
//! Every operation is cut into pieces, and threads take pieces by ticket. A piece writes what no
//! other piece of the operation touches, and an operation begins when all pieces of those before it
//! are done; that is what the `unsafe` blocks of this folder rest on. Who computes a piece never
//! changes its value.
//!
//! Attention over long contexts may have stages, each of which is as an operation of its own.
//!
//! An operation of one piece, such as the norm of one token's row, is not shared: the thread that
//! ended the operation before computes it on the way to the next one, and the others do not wait
//! once more.

use std::sync::atomic::Ordering;

use bitnet_kernels::format::Encoding;
use bitnet_kernels::program::{Activation, BufferId, CacheType, Op};

use crate::exec::attention::Attending;
use crate::exec::delta::Gates;
use crate::exec::pass::Pass;
use crate::exec::pieces::{row_pieces, rows_of};
use crate::exec::scratch::Scratch;
use crate::threads::pool::Phases;
use crate::threads::tickets::Pieces;

impl Phases for Pass<'_> {
    fn next(&self, thread: usize) -> usize {
        let scratch = &mut self.scratch(thread);
        loop {
            let next = self.next.load(Ordering::Relaxed);
            let later = self.stage.load(Ordering::Relaxed) + 1;
            let under_way = next.checked_sub(1);
            let (part, stage) = match under_way.filter(|part| later < self.stages(*part)) {
                Some(part) => (part, later),
                None => {
                    if let Some(done) = next.checked_sub(2) {
                        let op = self.ops.start + done;
                        self.end(&self.program.ops[op], scratch);
                        if let Some(clock) = self.clock {
                            clock.note(op);
                        }
                    } else if let (1, Some(clock)) = (next, self.clock) {
                        clock.start();
                    }
                    if next > self.ops.len() {
                        return 0;
                    }
                    (next, 0)
                }
            };
            self.next.store(part + 1, Ordering::Relaxed);
            self.stage.store(stage, Ordering::Relaxed);
            let pieces = self.pieces(part, stage, scratch);
            if pieces > 1 && self.threads > 1 {
                return pieces;
            }
            self.part(part, stage, &mut Pieces::all(pieces), scratch);
        }
    }

    fn compute(&self, thread: usize, pieces: &mut Pieces<'_>) {
        let part = self.next.load(Ordering::Relaxed) - 1;
        let stage = self.stage.load(Ordering::Relaxed);
        self.part(part, stage, pieces, &mut self.scratch(thread));
    }
}

impl Pass<'_> {
    /// The operation that is a part of the pass; the first part is no operation.
    fn op(&self, part: usize) -> Option<&Op> {
        let op = part.checked_sub(1)?;
        Some(&self.program.ops[self.ops.start + op])
    }

    /// How many stages a part of the pass has.
    fn stages(&self, part: usize) -> usize {
        match self.op(part) {
            Some(Op::Attention { shape, .. }) => self.attention_stages(shape),
            _ => 1,
        }
    }

    /// Into how many pieces a stage of a part of the pass is cut. For who begins it.
    fn pieces(&self, part: usize, stage: usize, scratch: &mut Scratch) -> usize {
        let tokens = self.tokens.len();
        let width = |id: BufferId| self.buffer(id).width;
        let rows = |id: BufferId| row_pieces(self.rows(id), width(id));
        let Some(op) = self.op(part) else {
            return tokens;
        };
        match op {
            Op::Embed { out, .. }
            | Op::Norm { out, .. }
            | Op::Encode { out, .. }
            | Op::Select { out, .. } => rows(*out),
            Op::HeadNorm { x, .. }
            | Op::Deinterleave { x, .. }
            | Op::Gate { x, .. }
            | Op::Rotate { x, .. } => rows(*x),
            Op::RopeStore { q, .. } => rows(*q),
            Op::Route { experts, .. } => row_pieces(tokens, experts.count),
            Op::Mix { shares, out, .. } => row_pieces(tokens, width(*out) * width(*shares)),
            Op::Linear { products, .. } => self.linear_pieces(products),
            Op::GatedLinear { gate, out, .. } => self.gated_pieces(gate, *out),
            Op::Convolve { x, .. } => self.convolve_pieces(width(*x)),
            Op::DeltaRule { shape, .. } => self.delta_rule_pieces(shape),
            Op::GatedExperts {
                experts,
                chosen,
                out,
                ..
            }
            | Op::ExpertLinear {
                experts,
                chosen,
                out,
                ..
            } => self.expert_operation_pieces(*experts, *chosen, *out, &mut scratch.groups),
            Op::Attention { shape, .. } => self.attention_pieces(shape, stage),
            Op::Head { product, logits } => match &self.search {
                Some(search) => self.search_pieces(product, search),
                None => self.linear_pieces(&[(*product, *logits)]),
            },
        }
    }

    /// Computes pieces of a stage of a part of the pass.
    fn part(&self, part: usize, stage: usize, pieces: &mut Pieces<'_>, scratch: &mut Scratch) {
        match self.op(part) {
            Some(op) => self.compute_op(op, stage, pieces, scratch),
            None => self.prepare_rotations(pieces),
        }
    }

    /// What one thread does when all pieces of an operation are done.
    fn end(&self, op: &Op, scratch: &mut Scratch) {
        if let Op::Linear {
            products,
            accumulate,
        } = op
            && let [(product, out)] = products.as_slice()
            && let Some(matrix) = self.columns_of(products)
        {
            self.after_columns(matrix, product, (*out, *accumulate), scratch);
        }
    }

    fn prepare_rotations(&self, pieces: &mut Pieces<'_>) {
        for token in pieces {
            let place = self.places[token];
            let capacity = self.caches[&place.cache].positions;
            for rotation in self.rotations {
                // SAFETY: this token's ticket is ours alone.
                let row = unsafe { rotation.table.write(rotation.row(token)) };
                rotation.fill(place.position, capacity, row);
            }
        }
    }

    fn compute_op(&self, op: &Op, stage: usize, pieces: &mut Pieces<'_>, scratch: &mut Scratch) {
        match op {
            Op::Embed { table, scale, out } => {
                let out = self.buffer(*out);
                for token in rows_of(pieces, self.tokens.len(), out.width) {
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
                self.each_row(pieces, *x, *out, scratch, |x, normed| {
                    (self.kernels.norm)(x, gain, *eps, normed);
                });
            }
            Op::HeadNorm { x, gain, eps } => {
                let gain = self.weights.vector(*gain);
                let plain = &mut scratch.values[..gain.len()];
                let (rows, x) = (self.rows(*x), self.buffer(*x));
                for row in rows_of(pieces, rows, x.width) {
                    let at = row * x.width..(row + 1) * x.width;
                    // SAFETY: written by an earlier operation; this row's ticket is ours alone.
                    let heads = unsafe { x.values.write(at) };
                    for head in heads.chunks_exact_mut(gain.len()) {
                        plain.copy_from_slice(head);
                        (self.kernels.norm)(plain, gain, *eps, head);
                    }
                }
            }
            Op::Encode { x, out } => {
                self.each_row(pieces, *x, *out, scratch, |x, copy| copy.copy_from_slice(x));
            }
            Op::Linear {
                products,
                accumulate,
            } => self.linear(pieces, products, *accumulate, scratch),
            Op::GatedLinear {
                gate,
                up,
                activation,
                out,
            } => {
                self.gated(pieces, gate, up, *activation, *out, scratch);
            }
            Op::Deinterleave { x, part, outs } => self.deinterleave(pieces, *x, *part, *outs),
            Op::Gate {
                x,
                gate,
                activation,
            } => self.gate(pieces, *x, *gate, *activation, scratch),
            Op::Convolve {
                x,
                kernel,
                layer,
                out,
            } => self.convolve(pieces, [*x, *out], *kernel, *layer, scratch),
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
                self.delta_rule(pieces, [*x, *out], &gates, shape, *layer, scratch);
            }
            Op::Route {
                logits,
                experts,
                chosen,
                shares,
            } => self.route(pieces, *logits, *experts, [*chosen, *shares], scratch),
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
                    pieces,
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
            } => self.expert_linear(pieces, product, *experts, *chosen, *out, scratch),
            Op::Mix { x, shares, out } => self.mix(pieces, *x, *shares, *out, scratch),
            Op::Rotate {
                x,
                head_dim,
                rotation,
            } => self.rotate(pieces, *x, *head_dim, *rotation),
            Op::RopeStore {
                q,
                k,
                v,
                rotation,
                layer,
            } => {
                self.rope_store(pieces, [*q, *k, *v], *rotation, *layer, scratch);
            }
            Op::Attention {
                q,
                shape,
                layer,
                out,
            } => {
                let attending = Attending {
                    q: self.buffer(*q),
                    out: self.buffer(*out),
                    shape,
                    layer: *layer,
                };
                match self.program.cache_type {
                    CacheType::F16 => self.attention::<u16>(stage, pieces, &attending, scratch),
                    CacheType::F32 => self.attention::<f32>(stage, pieces, &attending, scratch),
                }
            }
            Op::Select { x, out } => {
                let (x, out) = (self.buffer(*x), self.buffer(*out));
                for to in rows_of(pieces, self.selected.len(), out.width) {
                    let row = self.selected[to] as usize;
                    // SAFETY: `x` was written by an earlier operation; this row's ticket is ours
                    // alone.
                    unsafe {
                        let from = x.values.read(row * x.width..(row + 1) * x.width);
                        out.values
                            .write(to * out.width..(to + 1) * out.width)
                            .copy_from_slice(from);
                    }
                }
            }
            Op::Head { product, logits } => match &self.search {
                Some(search) => {
                    self.find_best(pieces, product, *logits, search, scratch);
                }
                None => self.linear(pieces, &[(*product, *logits)], false, scratch),
            },
        }
    }

    /// Rows of `x`, part after part to the two buffers in turn.
    fn deinterleave(&self, pieces: &mut Pieces<'_>, x: BufferId, part: usize, outs: [BufferId; 2]) {
        let x = self.buffer(x);
        let outs = outs.map(|out| self.buffer(out));
        for row in rows_of(pieces, self.tokens.len(), x.width) {
            // SAFETY: `x` was written by an earlier operation; this row's ticket is ours alone.
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
        pieces: &mut Pieces<'_>,
        x: BufferId,
        gate: BufferId,
        activation: Activation,
        scratch: &mut Scratch,
    ) {
        let rows = self.rows(x);
        let (x, gate) = (self.buffer(x), self.buffer(gate));
        for row in rows_of(pieces, rows, x.width) {
            let at = row * x.width..(row + 1) * x.width;
            // SAFETY: written by earlier operations; this row's ticket is ours alone.
            let (gate, x) = unsafe { (gate.values.read(at.clone()), x.values.write(at)) };
            let plain = &mut scratch.values[..x.len()];
            plain.copy_from_slice(x);
            (self.kernels.gate)(activation, gate, plain, x);
        }
    }

    /// Applies `f(row, result)` to each row of `x` and stores the result in the encoding of `out`.
    fn each_row(
        &self,
        pieces: &mut Pieces<'_>,
        x: BufferId,
        out: BufferId,
        scratch: &mut Scratch,
        f: impl Fn(&[f32], &mut [f32]),
    ) {
        let rows = self.rows(out);
        let (x, out) = (self.buffer(x), self.buffer(out));
        let width = out.width;
        for row in rows_of(pieces, rows, width) {
            let at = row * width..(row + 1) * width;
            // SAFETY: `x` was written by an earlier operation.
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
            (self.kernels.encode)(out.encoding, result, q, d, sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use bitnet_fixtures::{ProgramBuilder, Transformer};
    use bitnet_kernels::format::plain;
    use bitnet_kernels::program::Rows;
    use bitnet_kernels::{
        Batch, Coordination, Format, Forward, Inspect, Output, Segment, Telemetry, Want, oracle,
    };

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

    /// The logits of some tokens, read one by one, and how often `threads` have had to do with each
    /// other for the last of them.
    fn logits(
        model: Transformer,
        isa: Isa,
        threads: usize,
        want: Want,
    ) -> (Vec<u32>, Coordination) {
        let (program, weights) = model.program();
        let options = CpuOptions {
            threads: Some(threads),
            isa: Some(isa),
            ..CpuOptions::default()
        };
        let backend = CpuBackend::with_cores(program, weights, options, threads);
        let mut backend = backend.expect("it loads");
        let tokens = [3, 69, 12, 5, 6, 0];
        let cache = backend.create_cache(tokens.len()).expect("a cache");
        let (mut bits, mut before) = (Vec::new(), Coordination::default());
        let mut out = Output::default();
        for (start, token) in tokens.iter().enumerate() {
            let batch = Batch {
                tokens: &[*token],
                segments: &[Segment {
                    cache,
                    start,
                    len: 1,
                }],
                selected: &[0],
            };
            before = backend.coordination();
            backend.forward(&batch, want, &mut out).expect("it runs");
            bits.extend(out.logits.iter().map(|logit| logit.to_bits()));
            let best = out.top.iter();
            bits.extend(best.flat_map(|best| [best.id, best.logit.to_bits()]));
        }
        (bits, backend.coordination() - before)
    }

    /// A model with as many layers as the 2B one, and its groups of heads.
    const DEEP: Transformer = Transformer {
        layers: 30,
        hidden: 384,
        ffn: 384,
        heads: 20,
        kv_heads: 5,
        head_dim: 32,
        vocabulary: 1000,
        ..Transformer::TINY
    };

    #[test]
    #[cfg_attr(miri, ignore = "thirty layers are too many for Miri")]
    fn threads_wait_for_each_other_at_most_five_times_a_layer() {
        for want in [Want::Top(1), Want::Logits] {
            let (wanted, alone) = logits(DEEP, Isa::best(), 1, want);
            assert_eq!(alone, Coordination::default());
            for threads in [2, 3, 16, 64] {
                let (found, last) = logits(DEEP, Isa::best(), threads, want);
                assert!(found == wanted, "{threads} threads");
                // Each operation that is shared: query, key and value; attention; its output; gate
                // and factor; down; the head.
                let shared = 5 * DEEP.layers as u64 + 1;
                assert_eq!(last.barriers, shared - 1, "{threads} threads");
                // Each thread reports once, and each of up to 60 pieces may be of another's run.
                let most = shared * (threads as u64 + 60);
                assert!(
                    last.contended >= shared && last.contended <= most,
                    "{last:?}"
                );
            }
        }
    }

    /// The logits of one token behind a long context and of two behind that, and how often
    /// `threads` have waited for each other for the first.
    fn logits_of_long_context(model: Transformer, threads: usize) -> (Vec<u32>, u64) {
        let (program, weights) = model.program();
        let options = CpuOptions {
            threads: Some(threads),
            ..CpuOptions::default()
        };
        let backend = CpuBackend::with_cores(program, weights, options, threads);
        let mut backend = backend.expect("it loads");
        let cache = backend.create_cache(1000).expect("a cache");
        let (mut bits, mut barriers) = (Vec::new(), Vec::new());
        let mut start = 0;
        for len in [550, 1, 2] {
            let tokens: Vec<u32> = (start..start + len).map(|i| i as u32 * 7 % 70).collect();
            let batch = Batch {
                tokens: &tokens,
                segments: &[Segment { cache, start, len }],
                selected: &[len as u32 - 1],
            };
            let (before, mut out) = (backend.coordination(), Output::default());
            let ran = backend.forward(&batch, Want::Logits, &mut out);
            ran.expect("it runs");
            barriers.push((backend.coordination() - before).barriers);
            bits.extend(out.logits.iter().map(|logit| logit.to_bits()));
            start += len;
        }
        (bits, barriers[1])
    }

    #[test]
    #[cfg_attr(miri, ignore = "contexts are too long for Miri")]
    fn long_contexts_are_split_by_keys_where_threads_are_many_and_every_bit_stays() {
        let model = Transformer {
            layers: 2,
            hidden: 128,
            ffn: 128,
            heads: 16,
            kv_heads: 2,
            // Not a multiple of a block, and an odd number of blocks.
            head_dim: 40,
            vocabulary: 70,
            // Its first position is within a strip, and within a page.
            window: Some(521),
            ..Transformer::TINY
        };
        let cases = [
            (CacheType::F16, true),
            (CacheType::F16, false),
            (CacheType::F32, false),
        ];
        for (cache_type, round_weights) in cases {
            let model = Transformer {
                cache_type,
                round_weights,
                ..model
            };
            let (wanted, _) = logits_of_long_context(model, 1);
            let (whole, of_whole) = logits_of_long_context(model, 2);
            assert!(whole == wanted);
            for threads in [3, 9] {
                let (found, barriers) = logits_of_long_context(model, threads);
                assert!(found == wanted, "{threads} threads");
                // Two stages more in each layer.
                assert_eq!(barriers, of_whole + 2 * model.layers as u64, "{threads}");
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
                ..CpuOptions::default()
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
