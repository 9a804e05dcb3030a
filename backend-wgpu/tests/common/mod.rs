//! Small models made of noise: a program with weights in memory.

use std::sync::Arc;

use bitnet_fixtures::{Memory, Noise};
use bitnet_kernels::SharedWeights;
use bitnet_kernels::format::{Encoding, Format};
use bitnet_kernels::program::{
    Activation, AttentionShape, BufferDesc, BufferId, CacheType, LayerCache, Op, Pairing, Product,
    Program, Rope, RotationId, Rows, WeightDesc, WeightId,
};

/// The shape of a model.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    pub(crate) hidden: usize,
    pub(crate) ffn: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    pub(crate) vocabulary: usize,
    pub(crate) linear: Format,
    pub(crate) embedding: Format,
    pub(crate) activation: Activation,
    pub(crate) pairing: Pairing,
    pub(crate) cache_type: CacheType,
    pub(crate) round_weights: bool,
    /// Of every second layer, which does not rotate then.
    pub(crate) window: Option<usize>,
}

/// A program under construction.
pub(crate) struct Builder {
    noise: Noise,
    memory: Memory,
    buffers: Vec<BufferDesc>,
    weights: Vec<WeightDesc>,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            noise: Noise::new(7),
            memory: Memory::default(),
            buffers: Vec::new(),
            weights: Vec::new(),
        }
    }

    pub(crate) fn buffer(
        &mut self,
        name: &'static str,
        width: usize,
        encoding: Encoding,
        rows: Rows,
    ) -> BufferId {
        self.buffers.push(BufferDesc {
            name,
            width,
            encoding,
            rows,
        });
        BufferId(self.buffers.len() as u32 - 1)
    }

    pub(crate) fn weight(
        &mut self,
        name: String,
        format: Format,
        rows: usize,
        cols: usize,
    ) -> WeightId {
        let mut packed = Vec::new();
        let out = &mut packed;
        let noise = &mut self.noise;
        let size = 1.0 / (cols as f32).sqrt();
        for _ in 0..rows {
            if format.is_ternary() {
                let trits: Vec<i8> = (0..cols).map(|_| noise.below(3) as i8 - 1).collect();
                format.pack_trits(&trits, size, out);
            } else {
                let values: Vec<f32> = (0..cols)
                    .map(|_| {
                        if rows == 1 {
                            1.0 + 0.3 * noise.even()
                        } else {
                            noise.even() * size
                        }
                    })
                    .collect();
                format.pack_row(&values, out);
            }
        }
        format.pack_trailer(size, out);
        self.packed(name, format, (rows, cols), &packed)
    }

    pub(crate) fn program(self, ops: Vec<Op>, shape: Shape) -> (Program, SharedWeights) {
        let program = Program {
            buffers: self.buffers,
            weights: self.weights,
            ops,
            rotations: vec![Rope {
                dims: shape.head_dim,
                base: 500_000.0,
                pairing: shape.pairing,
                factors: Vec::new(),
            }],
            caches: vec![
                LayerCache::KeysAndValues {
                    kv_heads: shape.kv_heads,
                    head_dim: shape.head_dim,
                };
                shape.layers
            ],
            cache_type: shape.cache_type,
            vocabulary: shape.vocabulary,
        };
        (program, Arc::new(self.memory))
    }

    pub(crate) fn packed(
        &mut self,
        name: String,
        format: Format,
        (rows, cols): (usize, usize),
        bytes: &[u8],
    ) -> WeightId {
        self.memory.add(&name, bytes);
        self.weights.push(WeightDesc {
            name,
            format,
            rows,
            cols,
        });
        WeightId(self.weights.len() as u32 - 1)
    }
}

/// A model of this shape, with sub-norms, as BitNet b1.58 has them.
pub(crate) fn model(shape: Shape) -> (Program, SharedWeights) {
    let mut b = Builder::new();
    let (linear, encoding) = (shape.linear, shape.linear.encoding());
    let width = shape.heads * shape.head_dim;
    let kv = shape.kv_heads * shape.head_dim;
    let f32_buffer = Encoding::F32;
    let h = b.buffer("h", shape.hidden, f32_buffer, Rows::Batch);
    let x = b.buffer("x", shape.hidden, encoding, Rows::Batch);
    let q = b.buffer("q", width, f32_buffer, Rows::Batch);
    let k = b.buffer("k", kv, f32_buffer, Rows::Batch);
    let v = b.buffer("v", kv, f32_buffer, Rows::Batch);
    let attended = b.buffer("attended", width, f32_buffer, Rows::Batch);
    let attended_x = b.buffer("attended_x", width, encoding, Rows::Batch);
    let u = b.buffer("u", shape.ffn, f32_buffer, Rows::Batch);
    let u_x = b.buffer("u_x", shape.ffn, encoding, Rows::Batch);
    let last = b.buffer("last", shape.hidden, f32_buffer, Rows::Selected);
    let last_x = b.buffer(
        "last_x",
        shape.hidden,
        shape.embedding.encoding(),
        Rows::Selected,
    );
    let logits = b.buffer("logits", shape.vocabulary, f32_buffer, Rows::Selected);
    let table = b.weight(
        "token_embd".into(),
        shape.embedding,
        shape.vocabulary,
        shape.hidden,
    );
    let mut ops = vec![Op::Embed { table, out: h }];
    let eps = 1e-5;
    let product = |x, weight| Product {
        x,
        weight,
        scale: 1.0,
    };
    for layer in 0..shape.layers {
        let windowed = layer % 2 == 1 && shape.window.is_some();
        let gain = |b: &mut Builder, name: &str, cols| {
            b.weight(format!("blk.{layer}.{name}"), Format::F32, 1, cols)
        };
        let attn_norm = gain(&mut b, "attn_norm", shape.hidden);
        let sub_norm = gain(&mut b, "attn_sub_norm", width);
        let ffn_norm = gain(&mut b, "ffn_norm", shape.hidden);
        let matrix = |b: &mut Builder, name: &str, rows, cols| {
            b.weight(format!("blk.{layer}.{name}"), linear, rows, cols)
        };
        let wq = matrix(&mut b, "attn_q", width, shape.hidden);
        let wk = matrix(&mut b, "attn_k", kv, shape.hidden);
        let wv = matrix(&mut b, "attn_v", kv, shape.hidden);
        let wo = matrix(&mut b, "attn_output", shape.hidden, width);
        let gate = matrix(&mut b, "ffn_gate", shape.ffn, shape.hidden);
        let up = matrix(&mut b, "ffn_up", shape.ffn, shape.hidden);
        let down = matrix(&mut b, "ffn_down", shape.hidden, shape.ffn);
        ops.extend([
            Op::Norm {
                x: h,
                gain: attn_norm,
                eps,
                out: x,
            },
            Op::Linear {
                products: vec![
                    (product(x, wq), q),
                    (product(x, wk), k),
                    (product(x, wv), v),
                ],
                accumulate: false,
            },
            Op::RopeStore {
                q,
                k,
                v,
                rotation: (!windowed).then_some(RotationId(0)),
                layer,
            },
            Op::Attention {
                q,
                shape: AttentionShape {
                    heads: shape.heads,
                    kv_heads: shape.kv_heads,
                    head_dim: shape.head_dim,
                    scale: 1.0 / (shape.head_dim as f32).sqrt(),
                    window: shape.window.filter(|_| windowed),
                    round_weights: shape.round_weights,
                },
                layer,
                out: attended,
            },
            Op::Norm {
                x: attended,
                gain: sub_norm,
                eps,
                out: attended_x,
            },
            Op::Linear {
                products: vec![(product(attended_x, wo), h)],
                accumulate: true,
            },
            Op::Norm {
                x: h,
                gain: ffn_norm,
                eps,
                out: x,
            },
            Op::GatedLinear {
                gate: product(x, gate),
                up: product(x, up),
                activation: shape.activation,
                out: u,
            },
            Op::Encode { x: u, out: u_x },
            Op::Linear {
                products: vec![(product(u_x, down), h)],
                accumulate: true,
            },
        ]);
    }
    let output_norm = b.weight("output_norm".into(), Format::F32, 1, shape.hidden);
    ops.extend([
        Op::Select { x: h, out: last },
        Op::Norm {
            x: last,
            gain: output_norm,
            eps,
            out: last_x,
        },
        Op::Head {
            product: product(last_x, table),
            logits,
        },
    ]);
    b.program(ops, shape)
}
