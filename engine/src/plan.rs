//! From a file to a [`Program`]: the model graphs, written once for every backend.
//!
//! `BL` is a linear layer, `RMS` a norm. What stands in brackets is there where the
//! [row](crate::architecture) of the architecture says so:
//!
//! ```text
//! q, k, v = BL(RMS(h));  [RMS of each head of q and k]  [rotate q and k]  [or the RMS here]
//! h += BL_o([RMS] attention(q, k, v) [over a window] [* sigmoid(gate)])
//! u = activation(BL_gate x) * BL_up x,  where x = RMS(h)
//! h += BL_down([RMS] u)
//!
//! or, of experts,
//! h += sum of share_e * BL_down_e(activation(BL_gate_e x) * BL_up_e x) over those of BL_router x
//! ```
//!
//! Scales stand on the embedding, on what is added to `h` and on the logits.
//! A gated delta net may take the place of attention (`plan/delta_net.rs`).

mod delta_net;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use bitnet_gguf::{Gguf, TensorInfo};
use bitnet_kernels::Format;
use bitnet_kernels::format::Encoding;
use bitnet_kernels::program::{
    Activation, AttentionShape, BufferDesc, BufferId, CacheType, Experts, LayerCache, LongFactors,
    Op, Product, Program, Rope, RotationId, Rows, WeightDesc, WeightId,
};

use crate::architecture::{HeadNorms, Mixer};
use crate::config::{Config, Mixture};
use crate::error::Problem;

/// A model ready for a backend.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its shape.
    pub config: Config,
    /// Its forward pass.
    pub program: Program,
    /// The residual stream, which every layer adds to.
    pub residual: BufferId,
    /// For each layer, the index of the operation after which the residual stream holds its
    /// result.
    pub layer_ends: Vec<usize>,
    /// Parts of the file that are no part of this pass, in words.
    pub left_aside: Vec<String>,
}

/// Builds the program of a file, or says everything that stands in the way.
///
/// # Errors
/// Everything that stops the file from running.
pub fn plan(gguf: &Gguf, cache_type: CacheType) -> Result<Plan, Vec<Problem>> {
    let config = Config::read(gguf).map_err(Problem::few)?;
    graph(gguf, config, cache_type)
}

/// The program of a file whose metadata was read.
fn graph(gguf: &Gguf, config: Config, cache_type: CacheType) -> Result<Plan, Vec<Problem>> {
    let mut builder = Builder::new(gguf);
    let plan = builder.model(config, cache_type);
    if !builder.is_hopeless() {
        builder.refuse_unused();
    }
    match builder.problems.is_empty() {
        true => Ok(plan),
        false => Err(Problem::few(builder.problems)),
    }
}

struct Builder<'a> {
    gguf: &'a Gguf,
    buffers: Vec<BufferDesc>,
    by_desc: HashMap<(&'static str, usize, Encoding, Rows), BufferId>,
    weights: Vec<WeightDesc>,
    rotations: Vec<Rope>,
    caches: Vec<LayerCache>,
    ops: Vec<Op>,
    used: HashSet<String>,
    problems: Vec<Problem>,
}

/// A matrix and the factor on its results.
#[derive(Clone, Copy)]
struct Matrix {
    weight: WeightId,
    format: Format,
    scale: f32,
}

impl Matrix {
    /// The matrix with another factor on its results.
    fn times(self, factor: f32) -> Matrix {
        Matrix {
            scale: self.scale * factor,
            ..self
        }
    }
}

impl<'a> Builder<'a> {
    fn new(gguf: &'a Gguf) -> Builder<'a> {
        Builder {
            gguf,
            buffers: Vec::new(),
            by_desc: HashMap::new(),
            weights: Vec::new(),
            rotations: Vec::new(),
            caches: Vec::new(),
            ops: Vec::new(),
            used: HashSet::new(),
            problems: Vec::new(),
        }
    }

    fn model(&mut self, mut config: Config, cache_type: CacheType) -> Plan {
        let Config {
            embedding,
            vocabulary,
            eps,
            scales,
            ..
        } = config;
        if !config.architecture.sections {
            self.read_factors(&mut config);
        }
        let round_weights = cache_type == CacheType::F16 && self.attends_as_llama_cpp();

        let f32 = Encoding::F32;
        let h = self.buffer("h", embedding, f32, Rows::Batch);
        let table = self.unscaled("token_embd.weight", &[embedding as u64, vocabulary as u64]);
        self.ops.push(Op::Embed {
            table: table.weight,
            scale: scales.embedding,
            out: h,
        });
        let mut layer_ends = Vec::new();
        for layer in 0..config.layers {
            if self.is_hopeless() {
                break;
            }
            match config.layer(layer).mixer {
                Mixer::Attention => self.attention(&config, layer, round_weights, h),
                Mixer::DeltaNet => self.delta_net(&config, layer, h),
            }
            let mixture = config.mixture.as_ref();
            match mixture.filter(|_| config.layer(layer).experts) {
                Some(mixture) => self.mixture(&config, mixture, layer, h),
                None => self.feed_forward(&config, layer, h),
            }
            layer_ends.push(self.ops.len() - 1);
        }

        let left_aside = self.leave_aside(&config);

        let chosen = self.buffer("chosen", embedding, f32, Rows::Selected);
        self.ops.push(Op::Select { x: h, out: chosen });
        let tied = self.gguf.tensor("output.weight").is_none();
        let head = if tied {
            table
        } else {
            self.matrix("output.weight", vocabulary, embedding)
        };
        let head = head.times(1.0 / scales.logits);
        let products = self.norm(chosen, "output_norm.weight", eps, "head_x", &[head]);
        let logits = self.buffer("logits", vocabulary, f32, Rows::Selected);
        self.ops.push(Op::Head {
            product: products[0],
            logits,
        });

        let program = Program {
            buffers: std::mem::take(&mut self.buffers),
            weights: std::mem::take(&mut self.weights),
            rotations: std::mem::take(&mut self.rotations),
            caches: std::mem::take(&mut self.caches),
            cache_type,
            ops: std::mem::take(&mut self.ops),
            vocabulary,
        };
        Plan {
            config,
            program,
            residual: h,
            layer_ends,
            left_aside,
        }
    }

    /// `h += BL_o(attention)`.
    fn attention(&mut self, config: &Config, layer: usize, round_weights: bool, h: BufferId) {
        let Config {
            embedding,
            heads,
            kv_heads,
            head_dim,
            eps,
            ..
        } = *config;
        let kind = config.layer(layer);
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let q = self.row("q", q_width);
        let k = self.row("k", kv_width);
        let v = self.row("v", kv_width);
        let attended = self.row("attended", q_width);
        let joint = kind.gated.then(|| self.row("q_and_gate", 2 * q_width));
        let gate = kind.gated.then(|| self.row("gate", q_width));

        let q_rows = if kind.gated { 2 * q_width } else { q_width };
        let wq = self.matrix(&name("attn_q"), q_rows, embedding);
        let wk = self.matrix(&name("attn_k"), kv_width, embedding);
        let wv = self.matrix(&name("attn_v"), kv_width, embedding);
        let normed = self.norm(h, &name("attn_norm"), eps, "attn_x", &[wq, wk, wv]);
        let outs = [joint.unwrap_or(q), k, v];
        let products = normed.into_iter().zip(outs).collect();
        self.ops.push(Op::Linear {
            products,
            accumulate: false,
        });
        if let (Some(x), Some(gate)) = (joint, gate) {
            let (part, outs) = (head_dim, [q, gate]);
            self.ops.push(Op::Deinterleave { x, part, outs });
        }
        let mut rotation = kind.rotated.then(|| {
            let base = match kind.windowed {
                true => config.windowed_base,
                false => config.rope.base,
            };
            self.rotation(Rope {
                base,
                ..config.rope.clone()
            })
        });
        if kind.head_norms == Some(HeadNorms::AfterRotation)
            && let Some(rotation) = rotation.take()
        {
            let rotate = |x| Op::Rotate {
                x,
                head_dim,
                rotation,
            };
            self.ops.extend([q, k].map(rotate));
        }
        if kind.head_norms.is_some() {
            for (x, part) in [(q, "attn_q_norm"), (k, "attn_k_norm")] {
                let gain = self.vector(&name(part), head_dim);
                self.ops.push(Op::HeadNorm { x, gain, eps });
            }
        }
        let kept = self.keep(LayerCache::KeysAndValues { kv_heads, head_dim });
        self.ops.push(Op::RopeStore {
            q,
            k,
            v,
            rotation,
            layer: kept,
        });
        self.ops.push(Op::Attention {
            q,
            shape: AttentionShape {
                heads,
                kv_heads,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
                window: config.window.filter(|_| kind.windowed),
                round_weights,
            },
            layer: kept,
            out: attended,
        });
        if let Some(gate) = gate {
            self.ops.push(Op::Gate {
                x: attended,
                gate,
                activation: Activation::Sigmoid,
            });
        }
        let wo = self.matrix(&name("attn_output"), embedding, q_width);
        let wo = wo.times(config.scales.residual);
        let sub_norm = kind.sub_norms.then(|| name("attn_sub_norm"));
        self.add_product(attended, sub_norm, eps, "attn_y", wo, h);
    }

    /// `h += BL_down(activation(BL_gate x) * BL_up x)`.
    fn feed_forward(&mut self, config: &Config, layer: usize, h: BufferId) {
        let Config {
            embedding,
            feed_forward,
            eps,
            ..
        } = *config;
        let kind = config.layer(layer);
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let gated = self.row("gated", feed_forward);
        let gate = self.matrix(&name("ffn_gate"), feed_forward, embedding);
        let up = self.matrix(&name("ffn_up"), feed_forward, embedding);
        let normed = self.norm(h, &name(kind.ffn_norm), eps, "ffn_x", &[gate, up]);
        self.ops.push(Op::GatedLinear {
            gate: normed[0],
            up: normed[1],
            activation: config.activation,
            out: gated,
        });
        let down = self.matrix(&name("ffn_down"), embedding, feed_forward);
        let down = down.times(config.scales.residual);
        let sub_norm = kind.sub_norms.then(|| name("ffn_sub_norm"));
        self.add_product(gated, sub_norm, eps, "ffn_y", down, h);
    }

    /// A part of what a sequence keeps.
    fn keep(&mut self, cache: LayerCache) -> usize {
        self.caches.push(cache);
        self.caches.len() - 1
    }

    /// The feed-forward network of a layer of experts, added to `h`.
    fn mixture(&mut self, config: &Config, mixture: &Mixture, layer: usize, h: BufferId) {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let Config { embedding, eps, .. } = *config;
        let experts @ Experts { count, used } = mixture.experts;
        let width = mixture.feed_forward[layer];
        let (f32, routed) = (Encoding::F32, Rows::Routed { experts: used });

        let router = self.matrix(&name("ffn_gate_inp"), count, embedding);
        let gate = self.expert_matrix(&name("ffn_gate_exps"), count, width, embedding);
        let up = self.expert_matrix(&name("ffn_up_exps"), count, width, embedding);
        let matrices = [router, gate, up];
        let normed = self.norm(h, &name("ffn_norm"), eps, "ffn_x", &matrices);
        let logits = self.buffer("router", count, f32, Rows::Batch);
        self.ops.push(Op::Linear {
            products: vec![(normed[0], logits)],
            accumulate: false,
        });
        let chosen = self.buffer("chosen_experts", used, f32, Rows::Batch);
        let shares = self.buffer("shares", used, f32, Rows::Batch);
        self.ops.push(Op::Route {
            logits,
            experts,
            chosen,
            shares,
        });
        let gated = self.buffer("gated", width, f32, routed);
        self.ops.push(Op::GatedExperts {
            gate: normed[1],
            up: normed[2],
            activation: config.activation,
            clamp: mixture.clamps[layer],
            experts,
            chosen,
            out: gated,
        });
        let down = self.expert_matrix(&name("ffn_down_exps"), count, embedding, width);
        let down = down.times(config.scales.residual);
        let product = self.stored(gated, "ffn_y", down);
        let results = self.buffer("experts", embedding, f32, routed);
        self.ops.push(Op::ExpertLinear {
            product,
            experts,
            chosen,
            out: results,
        });
        self.ops.push(Op::Mix {
            x: results,
            shares,
            out: h,
        });
    }

    /// Whether attention is llama.cpp's, softmax weights rounded: in models of its ternary formats.
    fn attends_as_llama_cpp(&self) -> bool {
        let is_linear =
            |tensor: &TensorInfo| tensor.name.starts_with("blk.") && tensor.shape.len() > 1;
        let formats = self
            .gguf
            .tensors()
            .iter()
            .filter(|tensor| is_linear(tensor));
        formats
            .filter_map(|tensor| Format::from_ggml(tensor.type_id))
            .any(Format::rounds_softmax_weights)
    }

    /// The rotation of a layer: layers that rotate alike share one.
    fn rotation(&mut self, rope: Rope) -> RotationId {
        let known = self.rotations.iter().position(|other| *other == rope);
        let index = known.unwrap_or_else(|| {
            self.rotations.push(rope);
            self.rotations.len() - 1
        });
        RotationId(index as u32)
    }

    /// A norm of `x` in every encoding that `matrices` ask for, and their products with it.
    fn norm(
        &mut self,
        x: BufferId,
        gain: &str,
        eps: f32,
        out: &'static str,
        matrices: &[Matrix],
    ) -> Vec<Product> {
        let width = self.buffers[x.0 as usize].width;
        let gain = self.vector(gain, width);
        self.encoded(x, out, matrices, |x, out| Op::Norm { x, gain, eps, out })
    }

    /// `h += matrix . x`, with `x` normalised first where there is a `sub_norm`.
    fn add_product(
        &mut self,
        x: BufferId,
        sub_norm: Option<String>,
        eps: f32,
        out: &'static str,
        matrix: Matrix,
        h: BufferId,
    ) {
        let product = match sub_norm {
            Some(gain) => self.norm(x, &gain, eps, out, &[matrix])[0],
            None => self.stored(x, out, matrix),
        };
        self.ops.push(Op::Linear {
            products: vec![(product, h)],
            accumulate: true,
        });
    }

    /// The product of a matrix with `x`, stored as the matrix wants it.
    fn stored(&mut self, x: BufferId, out: &'static str, matrix: Matrix) -> Product {
        match matrix.format.encoding() {
            Encoding::F32 => Product {
                x,
                weight: matrix.weight,
                scale: matrix.scale,
            },
            _ => self.encoded(x, out, &[matrix], |x, out| Op::Encode { x, out })[0],
        }
    }

    fn encoded(
        &mut self,
        x: BufferId,
        out: &'static str,
        matrices: &[Matrix],
        op: impl Fn(BufferId, BufferId) -> Op,
    ) -> Vec<Product> {
        let BufferDesc { width, rows, .. } = self.buffers[x.0 as usize];
        let mut done = Vec::new();
        let mut products = Vec::new();
        for matrix in matrices {
            let encoding = matrix.format.encoding();
            let out = self.buffer(out, width, encoding, rows);
            if !done.contains(&encoding) {
                done.push(encoding);
                self.ops.push(op(x, out));
            }
            products.push(Product {
                x: out,
                weight: matrix.weight,
                scale: matrix.scale,
            });
        }
        products
    }

    /// Floats, a row for each token.
    fn row(&mut self, name: &'static str, width: usize) -> BufferId {
        self.buffer(name, width, Encoding::F32, Rows::Batch)
    }

    fn buffer(
        &mut self,
        name: &'static str,
        width: usize,
        encoding: Encoding,
        rows: Rows,
    ) -> BufferId {
        *self
            .by_desc
            .entry((name, width, encoding, rows))
            .or_insert_with(|| {
                self.buffers.push(BufferDesc {
                    name,
                    width,
                    encoding,
                    rows,
                });
                BufferId(self.buffers.len() as u32 - 1)
            })
    }

    /// Whether so much is wrong that nobody reads it all.
    fn is_hopeless(&self) -> bool {
        self.problems.len() > Problem::FEW
    }

    /// A matrix of the given shape. A `.scale` tensor beside it has no place: rows that are looked
    /// up know no factor.
    fn unscaled(&mut self, name: &str, shape: &[u64]) -> Matrix {
        let weight = self.tensor(name, shape);
        let format = self.weights[weight.0 as usize].format;
        Matrix {
            weight,
            format,
            scale: 1.0,
        }
    }

    /// The matrices of `count` experts, of `rows x cols` each. Scales for each of them have no
    /// place: llama.cpp, too, computes without.
    fn expert_matrix(&mut self, name: &str, count: usize, rows: usize, cols: usize) -> Matrix {
        self.unscaled(name, &[cols as u64, rows as u64, count as u64])
    }

    /// A matrix of `rows x cols`, with the one-element `.scale` tensor that may stand beside it.
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Matrix {
        let matrix = self.unscaled(name, &[cols as u64, rows as u64]);
        let scale_name = name
            .strip_suffix("weight")
            .map(|stem| format!("{stem}scale"));
        let scale = scale_name
            .and_then(|name| self.scalar(&name))
            .unwrap_or(1.0);
        Matrix { scale, ..matrix }
    }

    fn vector(&mut self, name: &str, len: usize) -> WeightId {
        let vector = self.tensor(name, &[len as u64]);
        let format = self.weights[vector.0 as usize].format;
        self.refuse_trailer(name, format);
        vector
    }

    /// Refuses a vector in a format that keeps a scale behind its rows: vectors are read as rows.
    fn refuse_trailer(&mut self, name: &str, format: Format) {
        if format.descriptor().trailer.is_some() {
            self.problems.push(Problem::VectorType {
                name: name.to_owned(),
                format,
            });
        }
    }

    /// A tensor of the given shape. A problem is noted, and a stand-in returned, so that all
    /// problems of a file are found in one go; the program is thrown away then.
    fn tensor(&mut self, name: &str, shape: &[u64]) -> WeightId {
        self.used.insert(name.to_owned());
        let format = match self.gguf.tensor(name) {
            None => {
                self.problems.push(Problem::MissingTensor {
                    name: name.to_owned(),
                });
                Format::F32
            }
            Some(tensor) => self.format(tensor, shape),
        };
        let (cols, rows) = shape.split_first().unwrap_or((&1, &[]));
        self.weights.push(WeightDesc {
            name: name.to_owned(),
            format,
            rows: rows.iter().product::<u64>() as usize,
            cols: *cols as usize,
        });
        WeightId(self.weights.len() as u32 - 1)
    }

    fn format(&mut self, tensor: &TensorInfo, shape: &[u64]) -> Format {
        let name = tensor.name.clone();
        let Some(format) = Format::from_ggml(tensor.type_id) else {
            self.refuse_type(tensor);
            return Format::F32;
        };
        let ones = tensor.shape.get(shape.len()..).unwrap_or_default();
        let row = tensor.shape.first().map_or(1, |len| *len as usize);
        if format.row_bytes(row).is_none() {
            self.problems.push(Problem::PartialBlock {
                name,
                shape: tensor.shape.clone(),
                format,
            });
        } else if !tensor.shape.starts_with(shape) || ones.iter().any(|dim| *dim != 1) {
            let (found, wanted) = (tensor.shape.clone(), shape.to_vec());
            self.problems.push(Problem::TensorShape {
                name,
                found,
                wanted,
            });
        }
        format
    }

    /// Notes that a tensor is of a type that is not computed with, with all others of that type.
    fn refuse_type(&mut self, tensor: &TensorInfo) {
        let of_type = |problem: &mut Problem| match problem {
            Problem::TensorType { id, more, .. } if *id == tensor.type_id => {
                *more += 1;
                true
            }
            _ => false,
        };
        if !self.problems.iter_mut().any(of_type) {
            self.problems.push(Problem::TensorType {
                name: tensor.name.clone(),
                more: 0,
                id: tensor.type_id,
                type_name: tensor.type_name().to_owned(),
            });
        }
    }

    fn scalar(&mut self, name: &str) -> Option<f32> {
        self.gguf.tensor(name)?;
        self.values(name, 1).map(|values| values[0])
    }

    /// The factors of the rotation: one set for all sequences, or two, by their capacity.
    fn read_factors(&mut self, config: &mut Config) {
        let pairs = config.rope.dims / 2;
        let one = "rope_freqs.weight";
        match config.short_until {
            Some(beyond) => {
                config.rope.factors = self.needed_values("rope_factors_short.weight", pairs);
                let factors = self.needed_values("rope_factors_long.weight", pairs);
                config.rope.long = Some(LongFactors { beyond, factors });
            }
            None if self.gguf.tensor(one).is_some() => {
                config.rope.factors = self.needed_values(one, pairs);
            }
            None => {}
        }
    }

    /// [`Builder::values`] of a tensor that must be there.
    fn needed_values(&mut self, name: &str, len: usize) -> Vec<f32> {
        if self.gguf.tensor(name).is_none() {
            self.problems.push(Problem::MissingTensor {
                name: name.to_owned(),
            });
        }
        let values = self.values(name, len).unwrap_or_default();
        match self.are_right(name, &values, |factor| *factor > 0.0) {
            true => values,
            false => Vec::new(),
        }
    }

    /// The values of a small tensor that becomes part of the program.
    fn values(&mut self, name: &str, len: usize) -> Option<Vec<f32>> {
        self.used.insert(name.to_owned());
        let tensor = self.gguf.tensor(name)?;
        let before = self.problems.len();
        let format = self.format(tensor, &[len as u64]);
        self.refuse_trailer(name, format);
        if self.problems.len() > before {
            return None;
        }
        let mut values = vec![0.0; len];
        format.dequantize_row(self.gguf.data(tensor).ok()?, &mut values);
        let right = self.are_right(name, &values, |value| value.is_finite());
        right.then_some(values)
    }

    /// Whether all values of a tensor are right; the first that is not is noted.
    fn are_right(&mut self, name: &str, values: &[f32], right: impl Fn(&f32) -> bool) -> bool {
        let wrong = values.iter().find(|value| !right(value));
        self.problems.extend(wrong.map(|value| Problem::Value {
            name: name.to_owned(),
            value: value.to_string(),
        }));
        wrong.is_none()
    }

    /// Names what the file holds beside the model, and takes it for known.
    fn leave_aside(&mut self, config: &Config) -> Vec<String> {
        let draft = config.layers..config.layers + config.draft_blocks;
        let of_draft = |name: &str| {
            let block = name.strip_prefix("blk.")?.split('.').next()?;
            block
                .parse::<usize>()
                .ok()
                .filter(|block| draft.contains(block))
        };
        let tensors = self.gguf.tensors().iter().map(|tensor| &tensor.name);
        let names: Vec<&String> = tensors.filter(|name| of_draft(name).is_some()).collect();
        self.used.extend(names.iter().map(|name| (*name).clone()));
        let blocks = match config.draft_blocks {
            0 => return Vec::new(),
            1 => format!("block {}", draft.start),
            _ => format!("blocks {} to {}", draft.start, draft.end - 1),
        };
        let count = names.len();
        vec![format!(
            "{blocks} of {count} tensors (`nextn_predict_layers`): a draft head, left aside"
        )]
    }

    /// Notes every tensor that the graph did not ask for; those of a part that is no model of text
    /// together, as those that are the same part of several layers.
    fn refuse_unused(&mut self) {
        let mut parts: Vec<(&'static str, usize, &str)> = Vec::new();
        let mut unused: Vec<(&str, usize)> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for tensor in self.gguf.tensors() {
            let name = tensor.name.as_str();
            if self.used.contains(name) {
                continue;
            }
            let Some(part) = part(name) else {
                match places.entry(in_layer(name)) {
                    Entry::Occupied(place) => unused[*place.get()].1 += 1,
                    Entry::Vacant(place) => {
                        place.insert(unused.len());
                        unused.push((name, 0));
                    }
                }
                continue;
            };
            match parts.iter_mut().find(|(other, ..)| *other == part) {
                Some((_, tensors, _)) => *tensors += 1,
                None => parts.push((part, 1, name)),
            }
        }
        let unused = unused
            .into_iter()
            .map(|(name, more)| Problem::UnusedTensor {
                name: name.to_owned(),
                more,
            });
        self.problems.extend(unused);
        for (part, tensors, first) in parts {
            self.problems.push(Problem::Part {
                part,
                tensors,
                first: first.to_owned(),
            });
        }
    }
}

/// What a tensor is called within its layer, or its whole name where it is in none.
fn in_layer(tensor: &str) -> &str {
    let of_layer = tensor
        .strip_prefix("blk.")
        .and_then(|rest| rest.split_once('.'));
    of_layer.map_or(tensor, |(_, part)| part)
}

/// Parts that a file may have beside its model of text, by the names of their tensors.
fn part(tensor: &str) -> Option<&'static str> {
    let begins = |starts: &[&str]| starts.iter().any(|start| tensor.starts_with(start));
    if begins(&[
        "v.",
        "vision_tower.",
        "vision_model.",
        "mm.",
        "multi_modal_projector.",
    ]) {
        Some("a part that sees images")
    } else if begins(&["a.", "audio_tower."]) {
        Some("a part that hears")
    } else if begins(&["mtp."]) || tensor.contains(".nextn.") {
        Some("blocks that predict more than one token (MTP)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bitnet_backend_cpu::{CpuBackend, CpuOptions};
    use bitnet_kernels::{Batch, Forward, Output, Segment, Want};

    use super::*;
    use crate::architecture::{Architecture, Layer};

    /// LLaMA, but that every second layer looks back a few positions only and does not rotate.
    static MIXED: Architecture = Architecture {
        names: &["mixed"],
        layers: &[
            Layer::PLAIN,
            Layer {
                rotated: false,
                windowed: true,
                ..Layer::PLAIN
            },
        ],
        ..Architecture::PLAIN
    };

    /// The logits of the last token of `tokens`.
    fn logits(gguf: &Arc<Gguf>, program: &Program, tokens: &[u32]) -> Vec<f32> {
        let options = CpuOptions::default();
        let mut backend =
            CpuBackend::load(program.clone(), gguf.clone(), options).expect("the program loads");
        let cache = backend.create_cache(tokens.len()).expect("a cache");
        let batch = Batch {
            tokens,
            segments: &[Segment {
                cache,
                start: 0,
                len: tokens.len(),
            }],
            selected: &[tokens.len() as u32 - 1],
        };
        let mut out = Output::default();
        backend
            .forward(&batch, Want::Logits, &mut out)
            .expect("the program runs");
        out.logits
    }

    #[test]
    fn layers_of_one_model_may_differ() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
        let gguf = Arc::new(Gguf::open(folder.join("llama-i2_s.gguf")).expect("the model opens"));
        let plain = Config::read(&gguf).expect("the model is one of ours");
        assert_eq!(plain.window, None);
        let mixed = |window| {
            let config = Config {
                architecture: &MIXED,
                window: Some(window),
                ..plain.clone()
            };
            let plan = graph(&gguf, config, CacheType::F16).expect("the tensors are the same");
            plan.program
        };
        let program = mixed(3);
        let windows: Vec<_> = program.attention_shapes().map(|s| s.window).collect();
        assert_eq!(
            windows,
            (0..plain.layers)
                .map(|i| (i % 2 == 1).then_some(3))
                .collect::<Vec<_>>()
        );
        let rotations: Vec<_> = program
            .ops
            .iter()
            .filter_map(|op| match op {
                Op::RopeStore { rotation, .. } => Some(*rotation),
                _ => None,
            })
            .collect();
        let rotated = (0..plain.layers).map(|i| (i % 2 == 0).then_some(RotationId(0)));
        assert_eq!(rotations, rotated.collect::<Vec<_>>());
        assert_eq!(program.rotations.len(), 1);

        let tokens: Vec<u32> = (0..40).map(|i| (i * 37 + 5) % 512).collect();
        let narrow = logits(&gguf, &program, &tokens);
        assert_ne!(narrow, logits(&gguf, &mixed(4), &tokens));
        // A window as long as the sequence is none.
        assert_eq!(
            logits(&gguf, &mixed(40), &tokens),
            logits(&gguf, &mixed(4000), &tokens)
        );
    }
}
