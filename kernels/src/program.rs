//! A forward pass as data: fused operations over buffers and weights.
//!
//! The engine builds a [`Program`] once per model; a backend receives it whole, places its buffers
//! and weights where it likes, and runs it for each batch of tokens. A list of operations, rather
//! than calls, lets a GPU record it once, lets threads walk it in step, and lets a debugger stop
//! between any two.

use crate::format::{Encoding, Format};

/// Names a buffer of activations of a [`Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// Names a weight of a [`Program`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub u32);

/// How many rows a buffer has in a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// One per token of the batch.
    Batch,
    /// One per token whose logits are wanted.
    Selected,
}

/// A buffer of activations: `rows x width` in an encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferDesc {
    /// For people: `h`, `q`, `ffn`, ...
    pub name: &'static str,
    /// Values in a row.
    pub width: usize,
    /// How they are stored.
    pub encoding: Encoding,
    /// How many rows there are.
    pub rows: Rows,
}

/// A weight: a matrix of `rows x cols`, or a vector where `rows` is 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightDesc {
    /// The tensor's name in the file.
    pub name: String,
    /// How its bytes are to be read.
    pub format: Format,
    /// Outputs of the matrix.
    pub rows: usize,
    /// Inputs of the matrix, adjacent in memory.
    pub cols: usize,
}

/// One matrix product: `weight . x`, times `scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Encoded activations, in the encoding of the weight's format.
    pub x: BufferId,
    /// The matrix.
    pub weight: WeightId,
    /// A factor on the result beside the weight's own scale; 1 leaves the result as it is.
    pub scale: f32,
}

/// The gate's activation function: a property of the architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `max(x, 0)^2`.
    Relu2,
}

/// Which two elements of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pairing {
    /// Elements `2i` and `2i + 1`.
    Adjacent,
    /// Elements `i` and `i + dims / 2`.
    Halves,
}

/// Rotary position embedding. The angle of pair `i` at position `p` is the f32 product
/// `p * (base^(-2i / dims) / factor[i])`, both factors rounded to f32; its cosine and sine are
/// taken in f64 and rounded.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Rotated elements of a head, from its first; the rest pass through.
    pub dims: usize,
    /// `rope.freq_base`.
    pub base: f32,
    /// Which elements pair up.
    pub pairing: Pairing,
    /// Divisors of the frequencies, one per pair (`rope_freqs.weight`); empty for none.
    pub factors: Vec<f32>,
}

/// What attention looks like in every layer.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Factor on the scores, `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// Whether softmax weights are rounded to binary16 before they meet the values, as llama.cpp
    /// does.
    pub round_weights: bool,
    /// The rotation of queries and keys.
    pub rope: Rope,
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheType {
    /// binary16; queries are rounded to it before they meet a key, as the references do.
    F16,
    /// binary32.
    F32,
}

/// A fused operation. `T` is the number of tokens of the batch, `S` that of the selected ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Rows of the embedding: f32 `[T, width]`.
    Embed {
        /// `vocabulary x width`.
        table: WeightId,
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
    /// Rotates queries in place, and writes rotated keys and plain values to the cache at each
    /// token's position.
    RopeStore {
        /// f32 `[T, heads * head_dim]`.
        q: BufferId,
        /// f32 `[T, kv_heads * head_dim]`.
        k: BufferId,
        /// f32 `[T, kv_heads * head_dim]`.
        v: BufferId,
        /// Layer of the cache.
        layer: usize,
    },
    /// Causal attention of each token over the cache of its sequence, its own position included.
    Attention {
        /// Rotated queries.
        q: BufferId,
        /// Layer of the cache.
        layer: usize,
        /// f32 `[T, heads * head_dim]`.
        out: BufferId,
    },
    /// The selected rows of a buffer.
    Select {
        /// f32, [`Rows::Batch`].
        x: BufferId,
        /// f32, [`Rows::Selected`].
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
            Op::Encode { .. } => "encode",
            Op::Linear { .. } => "linear",
            Op::GatedLinear { .. } => "gated_linear",
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
            Op::Norm { x, .. } | Op::Encode { x, .. } | Op::Select { x, .. } => vec![*x],
            Op::Linear {
                products,
                accumulate,
            } => {
                let sums = products.iter().filter(|_| *accumulate).map(|(_, out)| *out);
                products.iter().map(|(p, _)| p.x).chain(sums).collect()
            }
            Op::GatedLinear { gate, up, .. } => vec![gate.x, up.x],
            Op::RopeStore { q, k, v, .. } => vec![*q, *k, *v],
            Op::Attention { q, .. } => vec![*q],
            Op::Head { product, .. } => vec![product.x],
        }
    }

    /// The buffers that the operation writes, in the order of its fields.
    pub fn outputs(&self) -> Vec<BufferId> {
        match self {
            Op::Embed { out, .. }
            | Op::Norm { out, .. }
            | Op::Encode { out, .. }
            | Op::GatedLinear { out, .. }
            | Op::Attention { out, .. }
            | Op::Select { out, .. } => vec![*out],
            Op::Linear { products, .. } => products.iter().map(|(_, out)| *out).collect(),
            Op::RopeStore { q, .. } => vec![*q],
            Op::Head { logits, .. } => vec![*logits],
        }
    }
}

/// A forward pass: operations over buffers and weights, and the shape of the cache they use.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// Buffers, by [`BufferId`].
    pub buffers: Vec<BufferDesc>,
    /// Weights, by [`WeightId`].
    pub weights: Vec<WeightDesc>,
    /// Operations, in order.
    pub ops: Vec<Op>,
    /// What attention looks like.
    pub attention: AttentionShape,
    /// Layers of the cache.
    pub layers: usize,
    /// How keys and values are kept.
    pub cache_type: CacheType,
    /// Rows of the head.
    pub vocabulary: usize,
}

impl Program {
    /// The description of a buffer.
    pub fn buffer(&self, id: BufferId) -> &BufferDesc {
        &self.buffers[id.0 as usize]
    }

    /// The description of a weight.
    pub fn weight(&self, id: WeightId) -> &WeightDesc {
        &self.weights[id.0 as usize]
    }

    /// The name of the operation at `index`, with its number among those of its kind: `attention#3`
    /// is the fourth attention. `the end` behind the last.
    pub fn op_name(&self, index: usize) -> String {
        let Some(op) = self.ops.get(index) else {
            return "the end".to_owned();
        };
        let before = &self.ops[..index];
        let same = before.iter().filter(|other| other.name() == op.name());
        format!("{}#{}", op.name(), same.count())
    }

    /// The index of an operation that is named as in [`Program::op_name`], or by its index; without
    /// a number it is the first of its kind, and `end` is behind the last.
    ///
    /// # Errors
    /// In words: what there is instead.
    pub fn find_op(&self, text: &str) -> Result<usize, String> {
        if text == "end" {
            return Ok(self.ops.len());
        }
        if let Ok(index) = text.parse::<usize>() {
            return match index <= self.ops.len() {
                true => Ok(index),
                false => Err(format!("there are {} operations", self.ops.len())),
            };
        }
        let (name, number) = match text.split_once('#') {
            Some((name, number)) => (name, number.parse::<usize>().ok()),
            None => (text, Some(0)),
        };
        let of_kind = || (0..self.ops.len()).filter(|index| self.ops[*index].name() == name);
        number
            .and_then(|number| of_kind().nth(number))
            .ok_or_else(|| match of_kind().count() {
                0 => {
                    let mut names: Vec<_> = self.ops.iter().map(Op::name).collect();
                    names.sort_unstable();
                    names.dedup();
                    format!(
                        "there is no operation `{name}`; there are {}",
                        names.join(", ")
                    )
                }
                count => format!(
                    "`{name}` is there {count} times: {name}#0 to {name}#{}",
                    count - 1
                ),
            })
    }

    /// Bytes that one position of one sequence takes in the cache, all layers together.
    pub fn cache_bytes_per_position(&self) -> usize {
        let element = match self.cache_type {
            CacheType::F16 => 2,
            CacheType::F32 => 4,
        };
        2 * self.layers * self.attention.kv_heads * self.attention.head_dim * element
    }
}
