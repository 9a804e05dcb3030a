//! From a file to a [`Program`]: the model graphs, written once for every backend.
//!
//! ```text
//! llama        : q,k,v = BL(RMS(h)); h += BL_o(attn)
//!                u = silu(BL_gate x) * BL_up x;  h += BL_down(u)
//! bitnet       : same,               h += BL_o(RMS(attn))
//!                u = silu(gate) * up;            h += BL_down(RMS(u))
//! bitnet-b1.58 : same,               h += BL_o(RMS(attn))
//!                u = relu(gate)^2 * up;          h += BL_down(RMS(u))
//! ```

use std::collections::{HashMap, HashSet};

use bitnet_gguf::{Gguf, TensorInfo};
use bitnet_kernels::Format;
use bitnet_kernels::format::Encoding;
use bitnet_kernels::program::{
    AttentionShape, BufferDesc, BufferId, CacheType, Op, Product, Program, Rows, WeightDesc,
    WeightId,
};

use crate::config::Config;
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
}

/// Builds the program of a file, or says everything that stands in the way.
///
/// # Errors
/// Everything that stops the file from running.
pub fn plan(gguf: &Gguf, cache_type: CacheType) -> Result<Plan, Vec<Problem>> {
    let config = Config::read(gguf)?;
    let mut builder = Builder::new(gguf);
    let plan = builder.model(config, cache_type);
    builder.refuse_unused();
    if builder.problems.is_empty() {
        Ok(plan)
    } else {
        Err(builder.problems)
    }
}

struct Builder<'a> {
    gguf: &'a Gguf,
    buffers: Vec<BufferDesc>,
    by_desc: HashMap<(&'static str, usize, Encoding, Rows), BufferId>,
    weights: Vec<WeightDesc>,
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

impl<'a> Builder<'a> {
    fn new(gguf: &'a Gguf) -> Builder<'a> {
        Builder {
            gguf,
            buffers: Vec::new(),
            by_desc: HashMap::new(),
            weights: Vec::new(),
            ops: Vec::new(),
            used: HashSet::new(),
            problems: Vec::new(),
        }
    }

    fn model(&mut self, mut config: Config, cache_type: CacheType) -> Plan {
        let Config {
            embedding,
            vocabulary,
            feed_forward,
            heads,
            kv_heads,
            head_dim,
            eps,
            ..
        } = config;
        config.rope.factors = self.rope_factors(config.rope.dims / 2);
        let sub_norms = config.architecture.sub_norms();
        let activation = config.architecture.activation();
        let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);

        let f32 = Encoding::F32;
        let h = self.buffer("h", embedding, f32, Rows::Batch);
        let q = self.buffer("q", q_width, f32, Rows::Batch);
        let k = self.buffer("k", kv_width, f32, Rows::Batch);
        let v = self.buffer("v", kv_width, f32, Rows::Batch);
        let attended = self.buffer("attended", q_width, f32, Rows::Batch);
        let gated = self.buffer("gated", feed_forward, f32, Rows::Batch);

        let table = self.matrix("token_embd.weight", vocabulary, embedding);
        self.ops.push(Op::Embed {
            table: table.weight,
            out: h,
        });
        let mut layer_ends = Vec::new();
        for layer in 0..config.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");

            let wq = self.matrix(&name("attn_q"), q_width, embedding);
            let wk = self.matrix(&name("attn_k"), kv_width, embedding);
            let wv = self.matrix(&name("attn_v"), kv_width, embedding);
            let normed = self.norm(h, &name("attn_norm"), eps, "attn_x", &[wq, wk, wv]);
            let outs = [q, k, v];
            let products = normed.into_iter().zip(outs).collect();
            self.ops.push(Op::Linear {
                products,
                accumulate: false,
            });
            self.ops.push(Op::RopeStore { q, k, v, layer });
            self.ops.push(Op::Attention {
                q,
                layer,
                out: attended,
            });
            let wo = self.matrix(&name("attn_output"), embedding, q_width);
            let sub_norm = sub_norms.then(|| name("attn_sub_norm"));
            self.add_product(attended, sub_norm, eps, "attn_y", wo, h);

            let gate = self.matrix(&name("ffn_gate"), feed_forward, embedding);
            let up = self.matrix(&name("ffn_up"), feed_forward, embedding);
            let normed = self.norm(h, &name("ffn_norm"), eps, "ffn_x", &[gate, up]);
            self.ops.push(Op::GatedLinear {
                gate: normed[0],
                up: normed[1],
                activation,
                out: gated,
            });
            let down = self.matrix(&name("ffn_down"), embedding, feed_forward);
            let sub_norm = sub_norms.then(|| name("ffn_sub_norm"));
            self.add_product(gated, sub_norm, eps, "ffn_y", down, h);
            layer_ends.push(self.ops.len() - 1);
        }

        let chosen = self.buffer("chosen", embedding, f32, Rows::Selected);
        self.ops.push(Op::Select { x: h, out: chosen });
        let tied = self.gguf.tensor("output.weight").is_none();
        let head = if tied {
            table
        } else {
            self.matrix("output.weight", vocabulary, embedding)
        };
        let products = self.norm(chosen, "output_norm.weight", eps, "head_x", &[head]);
        let logits = self.buffer("logits", vocabulary, f32, Rows::Selected);
        self.ops.push(Op::Head {
            product: products[0],
            logits,
        });

        // Models in llama.cpp's ternary formats attend as llama.cpp does.
        let as_llama_cpp = |op: &Op| {
            matches!(op, Op::Linear { products, .. } if products.iter().any(
            |(product, _)| self.weights[product.weight.0 as usize].format.rounds_softmax_weights()))
        };
        let round_weights = cache_type == CacheType::F16 && self.ops.iter().any(as_llama_cpp);

        let program = Program {
            buffers: std::mem::take(&mut self.buffers),
            weights: std::mem::take(&mut self.weights),
            ops: std::mem::take(&mut self.ops),
            attention: AttentionShape {
                heads,
                kv_heads,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
                round_weights,
                rope: config.rope.clone(),
            },
            layers: config.layers,
            cache_type,
            vocabulary,
        };
        Plan {
            config,
            program,
            residual: h,
            layer_ends,
        }
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
        let products = match sub_norm {
            Some(gain) => self.norm(x, &gain, eps, out, &[matrix]),
            None if matrix.format.encoding() == Encoding::F32 => {
                vec![Product {
                    x,
                    weight: matrix.weight,
                    scale: matrix.scale,
                }]
            }
            None => self.encoded(x, out, &[matrix], |x, out| Op::Encode { x, out }),
        };
        self.ops.push(Op::Linear {
            products: vec![(products[0], h)],
            accumulate: true,
        });
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

    /// A matrix of `rows x cols`, with the one-element `.scale` tensor that may stand beside it.
    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Matrix {
        let weight = self.tensor(name, &[cols as u64, rows as u64]);
        let format = self.weights[weight.0 as usize].format;
        let scale_name = name
            .strip_suffix("weight")
            .map(|stem| format!("{stem}scale"));
        let scale = scale_name
            .and_then(|name| self.scalar(&name))
            .unwrap_or(1.0);
        Matrix {
            weight,
            format,
            scale,
        }
    }

    fn vector(&mut self, name: &str, len: usize) -> WeightId {
        self.tensor(name, &[len as u64])
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
        let size = |dim: usize| shape.get(dim).map_or(1, |size| *size as usize);
        self.weights.push(WeightDesc {
            name: name.to_owned(),
            format,
            rows: size(1),
            cols: size(0),
        });
        WeightId(self.weights.len() as u32 - 1)
    }

    fn format(&mut self, tensor: &TensorInfo, shape: &[u64]) -> Format {
        let name = tensor.name.clone();
        let Some(format) = Format::from_ggml(tensor.type_id) else {
            let type_name = tensor.type_name().to_owned();
            self.problems.push(Problem::TensorType {
                name,
                id: tensor.type_id,
                type_name,
            });
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

    fn scalar(&mut self, name: &str) -> Option<f32> {
        self.gguf.tensor(name)?;
        self.values(name, 1).map(|values| values[0])
    }

    fn rope_factors(&mut self, pairs: usize) -> Vec<f32> {
        if self.gguf.tensor("rope_freqs.weight").is_none() {
            return Vec::new();
        }
        self.values("rope_freqs.weight", pairs).unwrap_or_default()
    }

    /// The values of a small tensor that becomes part of the program.
    fn values(&mut self, name: &str, len: usize) -> Option<Vec<f32>> {
        self.used.insert(name.to_owned());
        let tensor = self.gguf.tensor(name)?;
        let before = self.problems.len();
        let format = self.format(tensor, &[len as u64]);
        if self.problems.len() > before {
            return None;
        }
        let mut values = vec![0.0; len];
        format.dequantize_row(self.gguf.data(tensor).ok()?, &mut values);
        Some(values)
    }

    /// Notes every tensor that the graph did not ask for.
    fn refuse_unused(&mut self) {
        for tensor in self.gguf.tensors() {
            if !self.used.contains(&tensor.name) {
                self.problems.push(Problem::UnusedTensor {
                    name: tensor.name.clone(),
                });
            }
        }
    }
}
