//! The causal convolution and the gated delta rule: what is kept of a sequence goes from token to
//! token, so a piece takes some channels, or a head, through all tokens of a segment.

use bitnet_kernels::Segment;
use bitnet_kernels::program::{BufferId, DeltaShape, WeightId};

use crate::exec::pass::Pass;
use crate::exec::scratch::{PIECE_VALUES, Scratch};
use crate::generic::delta::DeltaToken;
use crate::threads::tickets::Pieces;

/// What a delta rule reads beside its input.
pub(super) struct Gates {
    pub(super) alpha: BufferId,
    pub(super) beta: BufferId,
    pub(super) bias: WeightId,
    pub(super) rate: WeightId,
}

impl Pass<'_> {
    /// Pieces of segments, `parts` of each: the segment, the row of its first token, and the part.
    fn segment_parts(
        &self,
        pieces: &mut Pieces<'_>,
        parts: usize,
    ) -> impl Iterator<Item = (&Segment, usize, usize)> {
        pieces.map(move |piece| {
            let (index, part) = (piece / parts, piece % parts);
            let before = &self.segments[..index];
            let first_row = before.iter().map(|segment| segment.len).sum();
            (&self.segments[index], first_row, part)
        })
    }

    /// Pieces of a convolution over so many channels.
    pub(super) fn convolve_pieces(&self, channels: usize) -> usize {
        self.segments.len() * channels.div_ceil(PIECE_VALUES)
    }

    pub(super) fn convolve(
        &self,
        pieces: &mut Pieces<'_>,
        [x, out]: [BufferId; 2],
        kernel: WeightId,
        layer: usize,
        scratch: &mut Scratch,
    ) {
        let (x, out) = (self.buffer(x), self.buffer(out));
        let width = x.width;
        // `[columns][channels]`.
        let kernel = self.weights.vector(kernel);
        let kept_rows = kernel.len() / width - 1;
        for (segment, first_row, part) in self.segment_parts(pieces, width.div_ceil(PIECE_VALUES)) {
            let channels = part * PIECE_VALUES..width.min((part + 1) * PIECE_VALUES);
            let state = self.caches[&segment.cache].state(layer);
            let row = |row: usize| row * width + channels.start..row * width + channels.end;
            // Row `i` of what the sequence kept and of the segment behind it.
            // SAFETY: these channels of the state are this piece's alone, and nothing writes them
            // while the result lives; `x` was written by an earlier operation.
            let input = |i: usize| unsafe {
                match i.checked_sub(kept_rows) {
                    None => state.read(row(i)),
                    Some(token) => x.values.read(row(first_row + token)),
                }
            };
            for token in 0..segment.len {
                // SAFETY: these channels of this token have a ticket of their own, which is ours.
                let sums = unsafe { out.values.write(row(first_row + token)) };
                sums.fill(0.0);
                for (column, weights) in kernel.chunks_exact(width).enumerate() {
                    let weights = &weights[channels.clone()];
                    (self.kernels.multiply_add)(weights, input(token + column), sums);
                }
                (self.kernels.silu)(sums);
            }
            // The last rows are kept; each moves before the one that it overwrites is needed.
            for i in 0..kept_rows {
                let newer = &mut scratch.values[..channels.len()];
                newer.copy_from_slice(input(segment.len + i));
                // SAFETY: these channels of the state are this piece's alone, and no reference to
                // them lives.
                unsafe { state.write(row(i)) }.copy_from_slice(newer);
            }
        }
    }

    pub(super) fn delta_rule_pieces(&self, shape: &DeltaShape) -> usize {
        self.segments.len() * shape.heads
    }

    pub(super) fn delta_rule(
        &self,
        pieces: &mut Pieces<'_>,
        [x, out]: [BufferId; 2],
        gates: &Gates,
        shape: &DeltaShape,
        layer: usize,
        scratch: &mut Scratch,
    ) {
        let (x, out) = (self.buffer(x), self.buffer(out));
        let (alpha, beta) = (self.buffer(gates.alpha), self.buffer(gates.beta));
        let (bias, rate) = (
            self.weights.vector(gates.bias),
            self.weights.vector(gates.rate),
        );
        let size = shape.size;
        let keys = shape.key_heads * size;
        for (segment, first_row, head) in self.segment_parts(pieces, shape.heads) {
            let kept = head * size * size..(head + 1) * size * size;
            let state = self.caches[&segment.cache].state(layer);
            // SAFETY: the state of this head of this sequence is this piece's alone.
            let state = unsafe { state.write(kept) };
            let key_head = head % shape.key_heads * size;
            for row in first_row..first_row + segment.len {
                let part = |at: usize| row * x.width + at..row * x.width + at + size;
                let gate = row * shape.heads + head..row * shape.heads + head + 1;
                // SAFETY: written by earlier operations.
                let token = unsafe {
                    DeltaToken {
                        q: x.values.read(part(key_head)),
                        k: x.values.read(part(keys + key_head)),
                        v: x.values.read(part(2 * keys + head * size)),
                        alpha: alpha.values.read(gate.clone())[0],
                        beta: beta.values.read(gate)[0],
                        bias: bias[head],
                        rate: rate[head],
                        eps: shape.eps,
                    }
                };
                let at = row * out.width + head * size;
                // SAFETY: this head of this token has a ticket of its own, which is ours.
                let out = unsafe { out.values.write(at..at + size) };
                let units = &mut scratch.values[..2 * size];
                (self.kernels.delta_rule)(token, state, units, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bitnet_fixtures::{Noise, ProgramBuilder};
    use bitnet_kernels::format::{Encoding, Format, plain};
    use bitnet_kernels::program::{BufferId, DeltaShape, LayerCache, Op, Program, Rows, WeightId};
    use bitnet_kernels::{
        Batch, CacheId, Forward, Inspect, LayerContents, Segment, SharedWeights, oracle,
    };

    use crate::backend::{CpuBackend, CpuOptions};
    use crate::isa::Isa;

    const TOKENS: usize = 11;
    const EPS: f32 = 1e-6;

    /// A buffer, its width, and what one sequence has in it, `[tokens, width]`.
    type Filled = (BufferId, usize, Vec<f32>);

    fn rows(noise: &mut Noise, (buffer, width): (BufferId, usize)) -> Filled {
        (buffer, width, noise.evens(TOKENS * width))
    }

    /// Runs the only operation of a program over sequences of `TOKENS` tokens, all in one batch and
    /// cut as given, and returns for each its results and what it keeps.
    fn run(
        backend: &mut CpuBackend,
        sequences: &[Vec<Filled>],
        (out, out_width): (BufferId, usize),
        cuts: &[usize],
    ) -> Vec<(Vec<f32>, LayerContents)> {
        let new = |_| backend.create_cache(TOKENS).expect("a cache");
        let caches: Vec<CacheId> = sequences.iter().map(new).collect();
        let mut results = vec![Vec::new(); sequences.len()];
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([TOKENS]);
        for (start, end) in starts.zip(ends) {
            let len = end - start;
            for (index, (buffer, width, _)) in sequences[0].iter().enumerate() {
                let part = start * width..end * width;
                let parts = sequences
                    .iter()
                    .map(|inputs| &inputs[index].2[part.clone()]);
                let values = parts.collect::<Vec<_>>().concat();
                backend.write(*buffer, &values).expect("a buffer of floats");
            }
            let segment = |cache: &CacheId| Segment {
                cache: *cache,
                start,
                len,
            };
            let segments: Vec<Segment> = caches.iter().map(segment).collect();
            let batch = Batch {
                tokens: &vec![0; len * caches.len()],
                segments: &segments,
                selected: &[],
            };
            backend.run(&batch, 0..1).expect("the operation runs");
            let found = backend.read(out, len * caches.len()).expect("a result");
            for (result, rows) in results.iter_mut().zip(found.chunks(len * out_width)) {
                result.extend_from_slice(rows);
            }
        }
        let kept = caches.into_iter().map(|cache| {
            let kept = backend.read_cache(cache, 0, 0).expect("a state");
            backend.drop_cache(cache);
            kept
        });
        results.into_iter().zip(kept).collect()
    }

    /// The same bits on every instruction set, with one thread and more, however cut.
    fn judge(
        (program, weights): (Program, SharedWeights),
        sequences: &[Vec<Filled>],
        out: (BufferId, usize),
        wanted: &[(Vec<f32>, Vec<f32>)],
    ) {
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        for (isa, threads) in Isa::available()
            .into_iter()
            .flat_map(|isa| [(isa, 1), (isa, 3)])
        {
            let options = CpuOptions {
                threads: Some(threads),
                isa: Some(isa),
                ..CpuOptions::default()
            };
            let mut backend = CpuBackend::load(program.clone(), Arc::clone(&weights), options)
                .expect("the program loads");
            for cuts in [&[][..], &[1], &[2, 3, 4, 5], &[10], &[4, 9]] {
                let found = run(&mut backend, sequences, out, cuts);
                for ((found, kept), (wanted, state)) in found.iter().zip(wanted) {
                    let what = format!("{isa}, {threads} threads, cut at {cuts:?}");
                    assert!(bits(found) == bits(wanted), "{what}");
                    let LayerContents::State(kept) = kept else {
                        panic!("{kept:?}");
                    };
                    assert!(bits(kept) == bits(state), "what is kept, {what}");
                }
            }
        }
    }

    fn buffer(b: &mut ProgramBuilder, name: &'static str, width: usize) -> (BufferId, usize) {
        (b.buffer(name, width, Encoding::F32, Rows::Batch), width)
    }

    /// A weight of noise around `middle`, and its values.
    fn weight(
        b: &mut ProgramBuilder,
        noise: &mut Noise,
        name: &str,
        (rows, cols): (usize, usize),
        middle: f32,
    ) -> (WeightId, Vec<f32>) {
        let values: Vec<f32> = (0..rows * cols).map(|_| middle + noise.even()).collect();
        let mut bytes = Vec::new();
        plain::pack_f32(&values, &mut bytes);
        (b.packed(name, Format::F32, (rows, cols), &bytes), values)
    }

    #[test]
    fn a_convolution_is_the_oracles_however_sequences_are_cut() {
        for (channels, columns) in [(1, 1), (20, 4), (512, 2), (1030, 4), (7, 15)] {
            let (mut b, mut noise) = (ProgramBuilder::new(0), Noise::new(5));
            let x = buffer(&mut b, "x", channels);
            let out = buffer(&mut b, "out", channels);
            let (kernel, taps) = weight(&mut b, &mut noise, "k", (channels, columns), 0.0);
            let kept = channels * (columns - 1);
            let layer = b.cache(LayerCache::State { len: kept });
            b.op(Op::Convolve {
                x: x.0,
                kernel,
                layer,
                out: out.0,
            });
            let sequences = [0, 1].map(|_| vec![rows(&mut noise, x)]);
            let wanted = sequences.each_ref().map(|inputs| {
                let rows = [vec![0.0; kept], inputs[0].2.clone()].concat();
                let results = (0..TOKENS * channels).map(|at| {
                    let column = rows[at..].iter().step_by(channels).copied();
                    let inputs: Vec<f32> = column.take(columns).collect();
                    let channel = at % channels;
                    oracle::convolve(&taps[channel * columns..][..columns], &inputs)
                });
                (results.collect(), rows[TOKENS * channels..].to_vec())
            });
            judge(b.finish(), &sequences, out, &wanted);
        }
    }

    #[test]
    fn a_delta_rule_is_the_oracles_however_sequences_are_cut() {
        for (heads, key_heads, size) in [(1, 1, 1), (4, 2, 16), (6, 2, 20), (3, 3, 48), (2, 1, 144)]
        {
            let shape = DeltaShape {
                heads,
                key_heads,
                size,
                eps: EPS,
            };
            let (mut b, mut noise) = (ProgramBuilder::new(0), Noise::new(9));
            let x = buffer(&mut b, "x", shape.inputs());
            let alpha = buffer(&mut b, "alpha", heads);
            let beta = buffer(&mut b, "beta", heads);
            let out = buffer(&mut b, "out", shape.outputs());
            let (bias, biases) = weight(&mut b, &mut noise, "bias", (1, heads), 0.5);
            let (rate, rates) = weight(&mut b, &mut noise, "rate", (1, heads), -2.0);
            let layer = b.cache(LayerCache::State { len: shape.state() });
            b.op(Op::DeltaRule {
                x: x.0,
                alpha: alpha.0,
                beta: beta.0,
                bias,
                rate,
                shape,
                layer,
                out: out.0,
            });
            let sequences =
                [0, 1].map(|_| [x, alpha, beta].map(|of| rows(&mut noise, of)).to_vec());
            let wanted = sequences.each_ref().map(|inputs| {
                let mut state = vec![0.0; shape.state()];
                let mut results = Vec::new();
                for (gate, head) in (0..TOKENS * heads).map(|gate| (gate, gate % heads)) {
                    let row = &inputs[0].2[gate / heads * shape.inputs()..];
                    let part = |at: usize| &row[at * size..(at + 1) * size];
                    let key = head % key_heads;
                    results.extend(oracle::delta_rule(
                        &mut state[head * size * size..(head + 1) * size * size],
                        [part(key), part(key_heads + key), part(2 * key_heads + head)],
                        EPS,
                        oracle::decay(inputs[1].2[gate], biases[head], rates[head]),
                        oracle::share(inputs[2].2[gate]),
                    ));
                }
                (results, state)
            });
            judge(b.finish(), &sequences, out, &wanted);
        }
    }
}
