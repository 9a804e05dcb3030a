//! The fused operations: what each one computes, reads, writes and costs.
//!
//! Everything that is known of an operation without a device stands in this file, found by
//! exhaustive matches: whoever adds one is led through it by the compiler. What it computes is
//! defined by the [`oracle`](crate::oracle).

use super::attention::{AttentionShape, Rope, RotationId};
use super::cache::{CacheType, LayerCache};
use super::cost::{Cost, Work};
use super::delta::DeltaShape;
use super::experts::Experts;
use super::tensor::{Activation, BufferDesc, BufferId, Product, Rows, WeightDesc, WeightId};

/// How near two devices' results of an operation must be, given the same floats to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Floats pass through; encoded, they are the same integers.
    Same,
    /// Floats are added in another order, divided and exponentiated.
    Floats,
    /// Products with activations that were encoded just before, where one on the edge between two
    /// integers may have become either.
    Products,
    /// Results are rounded to binary16.
    Halves,
    /// Weights below 1 are rounded to binary16 before they are used.
    HalfWeights,
}

/// A fused operation. `T` is the number of tokens of the batch, `S` that of the selected ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Rows of the embedding, times `scale`: f32 `[T, width]`.
    Embed {
        /// `vocabulary x width`.
        table: WeightId,
        /// A factor on every value; 1 leaves them as they are.
        scale: f32,
        /// The residual stream.
        out: BufferId,
    },
    /// `x / sqrt(mean(x^2) + eps) * gain`, stored in the encoding of `out`.
    Norm {
        /// f32 rows.
        x: BufferId,
        /// f32, one per element.
        gain: WeightId,
        /// Added to the mean square.
        eps: f32,
        /// Rows of the same width.
        out: BufferId,
    },
    /// Each head of `x` as by [`Op::Norm`], in place: all heads share one gain.
    HeadNorm {
        /// f32 rows of whole heads.
        x: BufferId,
        /// f32, one per element of a head.
        gain: WeightId,
        /// Added to the mean square.
        eps: f32,
    },
    /// `x` stored in the encoding of `out`.
    Encode {
        /// f32 rows.
        x: BufferId,
        /// Rows of the same width.
        out: BufferId,
    },
    /// One or more matrix products, each with an output of its own.
    Linear {
        /// Products and where they go: f32 `[T, weight.rows]`.
        products: Vec<(Product, BufferId)>,
        /// Whether results are added to what the outputs hold (the residual stream).
        accumulate: bool,
    },
    /// `activation(gate . x) * (up . x)`.
    GatedLinear {
        /// The gate's product.
        gate: Product,
        /// The factor's product.
        up: Product,
        /// Applied to the gate's result.
        activation: Activation,
        /// f32 `[T, gate.rows]`.
        out: BufferId,
    },
    /// Rows made of parts of `part` values, which go to two buffers in turn: the first part to the
    /// first, the second to the second, the third to the first again.
    Deinterleave {
        /// f32 `[T, 2 * width]`.
        x: BufferId,
        /// Values of a part.
        part: usize,
        /// f32 `[T, width]` each.
        outs: [BufferId; 2],
    },
    /// `activation(gate) * x`, in place.
    Gate {
        /// f32 rows.
        x: BufferId,
        /// f32 rows of the same width.
        gate: BufferId,
        /// Applied to the gate.
        activation: Activation,
    },
    /// A causal convolution over the last rows of a sequence, channel by channel, and its SiLU.
    /// Before the first token there are rows of zeros. The layer keeps the rows that the next token
    /// needs, `[columns - 1][channels]`, the oldest first.
    Convolve {
        /// f32 `[T, channels]`.
        x: BufferId,
        /// `channels x columns`; the last column meets the newest row.
        kernel: WeightId,
        /// Layer of the cache, which keeps a state.
        layer: usize,
        /// f32 `[T, channels]`.
        out: BufferId,
    },
    /// The gated delta rule: a state per head that each token decays, corrects and reads. The layer
    /// keeps it, `[heads][key element][value element]`.
    DeltaRule {
        /// f32 `[T, 2 * key_heads * size + heads * size]`: queries, keys and values. Queries and
        /// keys are divided by their length first.
        x: BufferId,
        /// f32 `[T, heads]`: how fast the state decays.
        alpha: BufferId,
        /// f32 `[T, heads]`: how much of the error is corrected.
        beta: BufferId,
        /// f32, one per head: added to alpha.
        bias: WeightId,
        /// f32, one per head, below 0: on the softplus of alpha.
        rate: WeightId,
        /// Heads and their size.
        shape: DeltaShape,
        /// Layer of the cache, which keeps a state.
        layer: usize,
        /// f32 `[T, heads * size]`.
        out: BufferId,
    },
    /// Routes each token to experts: those of its largest logits, in the order of
    /// [`Candidate::best_first`](crate::Candidate::best_first), each with its share in the result.
    Route {
        /// f32 `[T, experts.count]`.
        logits: BufferId,
        /// How many experts there are and are taken.
        experts: Experts,
        /// f32 `[T, experts.used]`: the numbers of the experts.
        chosen: BufferId,
        /// f32 `[T, experts.used]`: their shares. A softmax over all experts, those that were taken
        /// divided by their sum.
        shares: BufferId,
    },
    /// As [`Op::GatedLinear`], with the matrices of each of the experts that a token is routed to.
    /// Gate and factor are bounded first where there is a clamp: the one from above, the other on
    /// both sides.
    GatedExperts {
        /// The gates' product; rows of all experts, one expert after another.
        gate: Product,
        /// The factors'.
        up: Product,
        /// Applied to the gate's result.
        activation: Activation,
        /// The bound of both.
        clamp: Option<f32>,
        /// How many experts there are and are taken.
        experts: Experts,
        /// As [`Op::Route`] leaves them.
        chosen: BufferId,
        /// f32, [`Rows::Routed`], `[T * experts.used, gate.rows / experts.count]`.
        out: BufferId,
    },
    /// The product of each routed row with the matrix of its expert.
    ExpertLinear {
        /// Routed rows, and the rows of all experts, one expert after another.
        product: Product,
        /// How many experts there are and are taken.
        experts: Experts,
        /// As [`Op::Route`] leaves them.
        chosen: BufferId,
        /// f32, [`Rows::Routed`], `[T * experts.used, product.rows / experts.count]`.
        out: BufferId,
    },
    /// Adds to each token's row the rows of its experts, each times its share: they are summed in
    /// their order, the likeliest first, and then added.
    Mix {
        /// f32, [`Rows::Routed`].
        x: BufferId,
        /// As [`Op::Route`] leaves them.
        shares: BufferId,
        /// f32 rows of the same width.
        out: BufferId,
    },
    /// Rotates each head of each token in place: where something comes between the rotation and the
    /// cache. Otherwise [`Op::RopeStore`] rotates.
    Rotate {
        /// f32 `[T, heads * head_dim]`.
        x: BufferId,
        /// Elements of a head.
        head_dim: usize,
        /// The rotation.
        rotation: RotationId,
    },
    /// Rotates queries in place, and writes rotated keys and plain values to the cache at each
    /// token's position; without a rotation, queries and keys stay as they are. Where the cache
    /// keeps binary16, queries are rounded to it as well.
    RopeStore {
        /// f32 `[T, heads * head_dim]`.
        q: BufferId,
        /// f32 `[T, kv_heads * head_dim]`.
        k: BufferId,
        /// f32 `[T, kv_heads * head_dim]`.
        v: BufferId,
        /// The rotation of queries and keys.
        rotation: Option<RotationId>,
        /// Layer of the cache, which keeps keys and values.
        layer: usize,
    },
    /// Causal attention of each token over the cache of its sequence, its own position included.
    Attention {
        /// Queries as [`Op::RopeStore`] leaves them.
        q: BufferId,
        /// Heads, scale and window.
        shape: AttentionShape,
        /// Layer of the cache, which keeps keys and values of this shape.
        layer: usize,
        /// f32 `[T, heads * head_dim]`.
        out: BufferId,
    },
    /// The selected rows of a buffer.
    Select {
        /// f32, [`Rows::Batch`](super::Rows::Batch).
        x: BufferId,
        /// f32, [`Rows::Selected`](super::Rows::Selected).
        out: BufferId,
    },
    /// Logits over the vocabulary. A backend asked only for the best few may leave out the rest.
    Head {
        /// The product with the output matrix.
        product: Product,
        /// f32 `[S, vocabulary]`.
        logits: BufferId,
    },
}

impl Op {
    /// The operation's name, as the recorder and the debugging switches spell it.
    pub const fn name(&self) -> &'static str {
        match self {
            Op::Embed { .. } => "embed",
            Op::Norm { .. } => "norm",
            Op::HeadNorm { .. } => "head_norm",
            Op::Encode { .. } => "encode",
            Op::Linear { .. } => "linear",
            Op::GatedLinear { .. } => "gated_linear",
            Op::Deinterleave { .. } => "deinterleave",
            Op::Gate { .. } => "gate",
            Op::Convolve { .. } => "convolve",
            Op::DeltaRule { .. } => "delta_rule",
            Op::Route { .. } => "route",
            Op::GatedExperts { .. } => "gated_experts",
            Op::ExpertLinear { .. } => "expert_linear",
            Op::Mix { .. } => "mix",
            Op::Rotate { .. } => "rotate",
            Op::RopeStore { .. } => "rope_store",
            Op::Attention { .. } => "attention",
            Op::Select { .. } => "select",
            Op::Head { .. } => "head",
        }
    }

    /// The buffers that the operation reads, those that it adds to among them.
    pub fn inputs(&self) -> Vec<BufferId> {
        match self {
            Op::Embed { .. } => Vec::new(),
            Op::Norm { x, .. }
            | Op::HeadNorm { x, .. }
            | Op::Encode { x, .. }
            | Op::Deinterleave { x, .. }
            | Op::Convolve { x, .. }
            | Op::Rotate { x, .. }
            | Op::Select { x, .. } => vec![*x],
            Op::Gate { x, gate, .. } => vec![*x, *gate],
            Op::DeltaRule { x, alpha, beta, .. } => vec![*x, *alpha, *beta],
            Op::Linear {
                products,
                accumulate,
            } => {
                let sums = products.iter().filter(|_| *accumulate).map(|(_, out)| *out);
                self.products()
                    .map(|product| product.x)
                    .chain(sums)
                    .collect()
            }
            Op::GatedLinear { .. } | Op::Head { .. } => {
                self.products().map(|product| product.x).collect()
            }
            Op::Route { logits, .. } => vec![*logits],
            Op::GatedExperts { chosen, .. } | Op::ExpertLinear { chosen, .. } => {
                let products = self.products().map(|product| product.x);
                products.chain([*chosen]).collect()
            }
            Op::Mix { x, shares, out } => vec![*x, *shares, *out],
            Op::RopeStore { q, k, v, .. } => vec![*q, *k, *v],
            Op::Attention { q, .. } => vec![*q],
        }
    }

    /// The buffers that the operation writes, in the order of its fields.
    pub fn outputs(&self) -> Vec<BufferId> {
        match self {
            Op::Embed { out, .. }
            | Op::Norm { out, .. }
            | Op::Encode { out, .. }
            | Op::GatedLinear { out, .. }
            | Op::Convolve { out, .. }
            | Op::DeltaRule { out, .. }
            | Op::GatedExperts { out, .. }
            | Op::ExpertLinear { out, .. }
            | Op::Mix { out, .. }
            | Op::Attention { out, .. }
            | Op::Select { out, .. } => vec![*out],
            Op::Deinterleave { outs, .. } => outs.to_vec(),
            Op::Route { chosen, shares, .. } => vec![*chosen, *shares],
            Op::Linear { products, .. } => products.iter().map(|(_, out)| *out).collect(),
            Op::HeadNorm { x, .. } | Op::Gate { x, .. } | Op::Rotate { x, .. } => vec![*x],
            Op::RopeStore { q, .. } => vec![*q],
            Op::Head { logits, .. } => vec![*logits],
        }
    }

    /// The matrix products of the operation, in the order of its fields.
    pub fn products(&self) -> impl Iterator<Item = &Product> {
        let (listed, named): (&[(Product, BufferId)], [Option<&Product>; 2]) = match self {
            Op::Linear { products, .. } => (products, [None; 2]),
            Op::GatedLinear { gate, up, .. } | Op::GatedExperts { gate, up, .. } => {
                (&[], [Some(gate), Some(up)])
            }
            Op::Head { product, .. } | Op::ExpertLinear { product, .. } => {
                (&[], [Some(product), None])
            }
            Op::Embed { .. }
            | Op::Norm { .. }
            | Op::HeadNorm { .. }
            | Op::Encode { .. }
            | Op::Deinterleave { .. }
            | Op::Gate { .. }
            | Op::Convolve { .. }
            | Op::DeltaRule { .. }
            | Op::Route { .. }
            | Op::Mix { .. }
            | Op::Rotate { .. }
            | Op::RopeStore { .. }
            | Op::Attention { .. }
            | Op::Select { .. } => (&[], [None; 2]),
        };
        let listed = listed.iter().map(|(product, _)| product);
        listed.chain(named.into_iter().flatten())
    }

    /// The layer of the cache that the operation writes.
    pub const fn writes_cache(&self) -> Option<usize> {
        match self {
            Op::RopeStore { layer, .. }
            | Op::Convolve { layer, .. }
            | Op::DeltaRule { layer, .. } => Some(*layer),
            Op::Embed { .. }
            | Op::Norm { .. }
            | Op::HeadNorm { .. }
            | Op::Encode { .. }
            | Op::Linear { .. }
            | Op::GatedLinear { .. }
            | Op::Deinterleave { .. }
            | Op::Gate { .. }
            | Op::Route { .. }
            | Op::GatedExperts { .. }
            | Op::ExpertLinear { .. }
            | Op::Mix { .. }
            | Op::Rotate { .. }
            | Op::Attention { .. }
            | Op::Select { .. }
            | Op::Head { .. } => None,
        }
    }

    /// How near two devices' results must be, given the same floats to start from.
    pub const fn precision(&self, cache_type: CacheType) -> Precision {
        match self {
            Op::Embed { .. } | Op::Encode { .. } | Op::Deinterleave { .. } | Op::Select { .. } => {
                Precision::Same
            }
            Op::Norm { .. }
            | Op::HeadNorm { .. }
            | Op::Gate { .. }
            | Op::Convolve { .. }
            | Op::DeltaRule { .. }
            | Op::Route { .. }
            | Op::Mix { .. }
            | Op::Rotate { .. } => Precision::Floats,
            Op::Linear { .. }
            | Op::GatedLinear { .. }
            | Op::GatedExperts { .. }
            | Op::ExpertLinear { .. }
            | Op::Head { .. } => Precision::Products,
            Op::RopeStore { .. } => match cache_type {
                CacheType::F16 => Precision::Halves,
                CacheType::F32 => Precision::Floats,
            },
            Op::Attention { shape, .. } => match shape.round_weights {
                true => Precision::HalfWeights,
                false => Precision::Floats,
            },
        }
    }

    /// What the operation costs at least in the passes of `work`.
    pub fn cost(&self, weights: &[WeightDesc], cache_type: CacheType, work: &Work) -> Cost {
        let weight = |id: WeightId| &weights[id.0 as usize];
        let bytes = |id: WeightId, rows: usize| {
            let desc = weight(id);
            // A trailer of a format is too little to count.
            let row = desc.format.row_bytes(desc.cols).unwrap_or(0);
            (rows * row) as u64
        };
        let matrix_bytes = |product: &Product| bytes(product.weight, weight(product.weight).rows);
        let multiply_adds = |product: &Product| {
            let desc = weight(product.weight);
            (desc.rows * desc.cols) as u64
        };
        // Read and written.
        let state_bytes = |values: usize| 2 * 4 * values as u64;
        match self {
            Op::Embed { table, .. } => Cost {
                weight_bytes: work.tokens * bytes(*table, 1),
                ..Cost::default()
            },
            Op::Norm { gain, .. } | Op::HeadNorm { gain, .. } => Cost {
                weight_bytes: work.passes * bytes(*gain, 1),
                ..Cost::default()
            },
            Op::Linear { .. } | Op::GatedLinear { .. } => Cost {
                weight_bytes: work.passes * self.products().map(matrix_bytes).sum::<u64>(),
                products: work.tokens * self.products().map(multiply_adds).sum::<u64>(),
                ..Cost::default()
            },
            Op::Convolve { kernel, .. } => {
                let WeightDesc { rows, cols, .. } = *weight(*kernel);
                let kept = rows * cols.saturating_sub(1);
                Cost {
                    weight_bytes: work.passes * bytes(*kernel, rows),
                    cache_bytes: work.visits() * state_bytes(kept),
                    attention: work.tokens * (rows * cols) as u64,
                    ..Cost::default()
                }
            }
            Op::DeltaRule {
                bias, rate, shape, ..
            } => Cost {
                weight_bytes: work.passes * (bytes(*bias, 1) + bytes(*rate, 1)),
                cache_bytes: work.visits() * state_bytes(shape.state()),
                // Reading under a key, correcting, reading for a query.
                attention: work.tokens * 3 * shape.state() as u64,
                ..Cost::default()
            },
            // At least those that one token is routed to; each token multiplies with all of its
            // own.
            Op::GatedExperts { experts, .. } | Op::ExpertLinear { experts, .. } => {
                let of = |all: u64| all / experts.count as u64 * experts.used as u64;
                Cost {
                    weight_bytes: work.passes
                        * self.products().map(matrix_bytes).map(of).sum::<u64>(),
                    products: work.tokens * self.products().map(multiply_adds).map(of).sum::<u64>(),
                    ..Cost::default()
                }
            }
            Op::Attention { shape, .. } => {
                let keys_and_values = 2 * shape.head_dim * shape.kv_heads * cache_type.bytes();
                let of_a_position = 2 * shape.head_dim * shape.heads;
                Cost {
                    cache_bytes: work.cached(shape.window) * keys_and_values as u64,
                    attention: work.seen(shape.window) * of_a_position as u64,
                    ..Cost::default()
                }
            }
            Op::Head { product, .. } => Cost {
                head_bytes: work.selecting * matrix_bytes(product),
                products: work.selected * multiply_adds(product),
                ..Cost::default()
            },
            // Activations stay in the processor's caches.
            Op::Encode { .. }
            | Op::Deinterleave { .. }
            | Op::Gate { .. }
            | Op::Route { .. }
            | Op::Mix { .. }
            | Op::Rotate { .. }
            | Op::RopeStore { .. }
            | Op::Select { .. } => Cost::default(),
        }
    }

    /// Why the operation cannot run on these buffers, weights, layers of a cache and rotations;
    /// `None` where it can.
    pub(crate) fn misfit(
        &self,
        buffers: &[BufferDesc],
        weights: &[WeightDesc],
        caches: &[LayerCache],
        rotations: &[Rope],
    ) -> Option<String> {
        let width = |id: BufferId| buffers.get(id.0 as usize).map_or(0, |desc| desc.width);
        let gain_of = |id: WeightId| weights.get(id.0 as usize).map_or(0, |desc| desc.cols);
        let heads_of = |layer: usize| match caches.get(layer) {
            Some(LayerCache::KeysAndValues { kv_heads, head_dim }) => Ok((*kv_heads, *head_dim)),
            other => Err(format!(
                "layer {layer} keeps {other:?}, not keys and values"
            )),
        };
        let state_of = |layer: usize| match caches.get(layer) {
            Some(LayerCache::State { len }) => Ok(*len),
            other => Err(format!("layer {layer} keeps {other:?}, not a state")),
        };
        let rows = |id: BufferId| buffers.get(id.0 as usize).map(|desc| desc.rows);
        match self {
            Op::Deinterleave { x, part, outs } => {
                let halves = outs.map(width);
                let fits = *part > 0
                    && width(*x) == halves[0] + halves[1]
                    && halves[0] == halves[1]
                    && halves[0].is_multiple_of(*part);
                (!fits).then(|| {
                    format!(
                        "rows of {} do not go by parts of {part} to rows of {halves:?}",
                        width(*x)
                    )
                })
            }
            Op::Gate { x, gate, .. } => {
                let (x, gate) = (width(*x), width(*gate));
                (x != gate).then(|| format!("a gate of {gate} on rows of {x}"))
            }
            Op::Convolve {
                x,
                kernel,
                layer,
                out,
            } => {
                let kept = match state_of(*layer) {
                    Ok(kept) => kept,
                    Err(problem) => return Some(problem),
                };
                let (channels, columns) = weights
                    .get(kernel.0 as usize)
                    .map_or((0, 0), |desc| (desc.rows, desc.cols));
                let fits = columns > 0
                    && [width(*x), width(*out)] == [channels; 2]
                    && kept == channels * (columns - 1);
                (!fits).then(|| {
                    format!(
                        "a kernel of {channels} x {columns} does not fit rows of {} and {}, nor \
                         the {kept} values that layer {layer} keeps",
                        width(*x),
                        width(*out)
                    )
                })
            }
            Op::Route {
                logits,
                experts,
                chosen,
                shares,
            } => {
                let fits = experts.are_some()
                    && width(*logits) == experts.count
                    && [width(*chosen), width(*shares)] == [experts.used; 2];
                (!fits).then(|| {
                    format!(
                        "{experts:?} do not fit {} logits, {} choices and {} shares",
                        width(*logits),
                        width(*chosen),
                        width(*shares)
                    )
                })
            }
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
            } => {
                let all = |id: WeightId| weights.get(id.0 as usize).map_or(0, |desc| desc.rows);
                let routed = Some(Rows::Routed {
                    experts: experts.used,
                });
                let fits = experts.are_some()
                    && width(*chosen) == experts.used
                    && rows(*out) == routed
                    && self.products().all(|product| {
                        all(product.weight) == experts.count * width(*out)
                            && [routed, Some(Rows::Batch)].contains(&rows(product.x))
                    });
                (!fits).then(|| {
                    let rows = self.products().map(|product| all(product.weight));
                    format!(
                        "matrices of {:?} rows do not give {experts:?} rows of {}",
                        rows.collect::<Vec<_>>(),
                        width(*out)
                    )
                })
            }
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
                let kept = match state_of(*layer) {
                    Ok(kept) => kept,
                    Err(problem) => return Some(problem),
                };
                let gates = [width(*alpha), width(*beta), gain_of(*bias), gain_of(*rate)];
                let fits = shape.key_heads > 0
                    && shape.heads.is_multiple_of(shape.key_heads)
                    && [width(*x), width(*out), kept]
                        == [shape.inputs(), shape.outputs(), shape.state()]
                    && gates == [shape.heads; 4];
                (!fits).then(|| {
                    format!(
                        "{shape:?} does not fit rows of {} and {}, gates of {gates:?}, nor the \
                         {kept} values that layer {layer} keeps",
                        width(*x),
                        width(*out)
                    )
                })
            }
            Op::Mix { x, shares, out } => {
                let routed = Some(Rows::Routed {
                    experts: width(*shares),
                });
                let fits = rows(*x) == routed && width(*x) == width(*out);
                (!fits).then(|| {
                    format!(
                        "{:?} rows of {} with {} shares do not make rows of {}",
                        rows(*x),
                        width(*x),
                        width(*shares),
                        width(*out)
                    )
                })
            }
            Op::HeadNorm { x, gain, .. } => {
                let gain = gain_of(*gain);
                let fits = gain > 0 && width(*x).is_multiple_of(gain);
                (!fits).then(|| format!("rows of {} are no heads of {gain}", width(*x)))
            }
            Op::Norm { x, gain, out, .. } => {
                let gain = gain_of(*gain);
                let fits = [width(*x), width(*out)] == [gain; 2];
                (!fits).then(|| {
                    format!(
                        "a gain of {gain} does not fit rows of {} and {}",
                        width(*x),
                        width(*out)
                    )
                })
            }
            Op::Rotate {
                x,
                head_dim,
                rotation,
            } => {
                let rope = rotations.get(rotation.0 as usize);
                let fits = *head_dim > 0
                    && width(*x).is_multiple_of(*head_dim)
                    && rope.is_some_and(|rope| rope.dims <= *head_dim);
                (!fits).then(|| {
                    let width = width(*x);
                    format!("{rope:?} does not rotate heads of {head_dim} in rows of {width}")
                })
            }
            Op::RopeStore {
                q,
                k,
                v,
                rotation,
                layer,
            } => {
                let (kv_heads, head_dim) = match heads_of(*layer) {
                    Ok(heads) => heads,
                    Err(problem) => return Some(problem),
                };
                let kept = kv_heads * head_dim;
                if head_dim == 0
                    || !width(*q).is_multiple_of(head_dim)
                    || [width(*k), width(*v)] != [kept; 2]
                {
                    return Some(format!(
                        "queries of {}, keys of {} and values of {} elements do not make heads of \
                         {head_dim}, {kv_heads} of which layer {layer} keeps",
                        width(*q),
                        width(*k),
                        width(*v)
                    ));
                }
                let rope = rotations.get(rotation.as_ref()?.0 as usize);
                let fits = rope.is_some_and(|rope| rope.dims <= head_dim);
                (!fits).then(|| format!("{rope:?} does not rotate heads of {head_dim}"))
            }
            Op::Attention {
                q,
                shape,
                layer,
                out,
            } => {
                let kept = match heads_of(*layer) {
                    Ok(heads) => heads,
                    Err(problem) => return Some(problem),
                };
                let queries = shape.heads * shape.head_dim;
                let fits = kept == (shape.kv_heads, shape.head_dim)
                    && shape.kv_heads > 0
                    && shape.heads.is_multiple_of(shape.kv_heads)
                    && [width(*q), width(*out)] == [queries; 2]
                    && shape.window != Some(0);
                (!fits).then(|| {
                    format!(
                        "{shape:?} does not fit queries of {} elements, results of {} and layer \
                         {layer}, which keeps {kept:?}",
                        width(*q),
                        width(*out)
                    )
                })
            }
            Op::Embed { .. }
            | Op::Encode { .. }
            | Op::Linear { .. }
            | Op::GatedLinear { .. }
            | Op::Select { .. }
            | Op::Head { .. } => None,
        }
    }
}
