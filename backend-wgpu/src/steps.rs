//! From operations to dispatches: which kernels, over which buffers, in which order.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::format::Format;
use bitnet_kernels::program::{BufferId, Op, Product, Program, Rows, WeightId};
use bitnet_kernels::wgsl::{Kernel, MAX_BLOCK_COLS, MAX_HEAD_DIM, Softmax, Store};
use bitnet_kernels::{BackendError, SharedWeights};
use wgpu::{BindGroup, Buffer, BufferUsages};

use crate::buffers::Activations;
use crate::device::Gpu;
use crate::matrix::{self, DeviceMatrix, Progress};
use crate::pipeline::{Pipeline, Pipelines};

/// From this many rows on, a product runs over tiles. Either way gives the same bits.
const GEMM_ROWS: u32 = 20;

/// Workgroups of a dispatch, where `n` is the number of rows of the pass.
#[derive(Clone, Copy)]
pub(crate) enum Grid {
    /// `(n, 1)`.
    Rows,
    /// `(x, n)`.
    ByRow(u32),
    /// `(x, n / 64)`.
    ByTile(u32),
}

/// How a product looks from the outside.
pub(crate) struct Linear {
    pub(crate) gemv: Arc<Pipeline>,
    pub(crate) gemm: Option<Arc<Pipeline>>,
    pub(crate) matrix: Arc<DeviceMatrix>,
    /// One per piece.
    pub(crate) pieces: Vec<Buffer>,
    pub(crate) x: BufferId,
    pub(crate) out: BufferId,
}

/// What an operation asks of the device; everything but the buffers of activations is in place.
pub(crate) enum Step {
    Embed {
        pipeline: Arc<Pipeline>,
        matrix: Arc<DeviceMatrix>,
        pieces: Vec<Buffer>,
        out: BufferId,
    },
    Encode {
        pipeline: Arc<Pipeline>,
        x: BufferId,
        gain: Option<Arc<Buffer>>,
        out: BufferId,
    },
    Linear(Linear),
    RopeStore {
        pipeline: Arc<Pipeline>,
        q: BufferId,
        k: BufferId,
        v: BufferId,
        layer: usize,
    },
    Attention {
        spans: Vec<Arc<Pipeline>>,
        merge: Arc<Pipeline>,
        q: BufferId,
        layer: usize,
        out: BufferId,
    },
    Select {
        pipeline: Arc<Pipeline>,
        x: BufferId,
        out: BufferId,
    },
}

/// A dispatch with all its buffers.
pub(crate) struct Dispatch {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) bind: BindGroup,
    pub(crate) grid: Grid,
    pub(crate) rows: Rows,
    /// Runs only for at least, and fewer than, so many rows.
    pub(crate) when: (u32, u32),
}

/// Makes the steps of a program, uploading its weights on the way.
pub(crate) struct Builder<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) program: &'a Program,
    pub(crate) source: SharedWeights,
    pub(crate) pipelines: &'a mut Pipelines,
    pub(crate) progress: Progress<'a>,
    matrices: HashMap<Vec<WeightId>, Arc<DeviceMatrix>>,
    vectors: HashMap<WeightId, Arc<Buffer>>,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        gpu: &'a Gpu,
        program: &'a Program,
        source: SharedWeights,
        pipelines: &'a mut Pipelines,
        progress: Progress<'a>,
    ) -> Builder<'a> {
        Builder {
            gpu,
            program,
            source,
            pipelines,
            progress,
            matrices: HashMap::new(),
            vectors: HashMap::new(),
        }
    }

    /// The steps of each operation.
    pub(crate) fn build(&mut self) -> Result<Vec<Vec<Step>>, BackendError> {
        let shape = &self.program.attention;
        if shape.head_dim > MAX_HEAD_DIM
            || !shape.head_dim.is_multiple_of(8)
            || !shape.rope.dims.is_multiple_of(4)
        {
            return Err(self.gpu.unsupported(format!(
                "attention heads of {} elements, {} of them rotated: multiples of 8, and of 4, up to {MAX_HEAD_DIM} are known",
                shape.head_dim, shape.rope.dims
            )));
        }
        if let Some(odd) = self.program.buffers.iter().find(|desc| desc.width % 4 != 0)
            && odd.width != self.program.vocabulary
        {
            return Err(self.gpu.unsupported(format!(
                "rows of {} values in {}: multiples of 4 are known",
                odd.width, odd.name
            )));
        }
        let program = self.program;
        program.ops.iter().map(|op| self.op(op)).collect()
    }

    fn op(&mut self, op: &Op) -> Result<Vec<Step>, BackendError> {
        match op {
            Op::Embed { table, out } => Ok(vec![self.embed(*table, *out)?]),
            Op::Norm { x, gain, eps, out } => {
                Ok(vec![self.encode(*x, Some((*gain, *eps)), *out)?])
            }
            Op::Encode { x, out } => Ok(vec![self.encode(*x, None, *out)?]),
            Op::Linear {
                products,
                accumulate,
            } => {
                let store = if *accumulate { Store::Add } else { Store::Set };
                products
                    .iter()
                    .map(|(product, out)| self.linear(&[*product], store, *out))
                    .collect()
            }
            Op::GatedLinear {
                gate,
                up,
                activation,
                out,
            } => Ok(vec![self.linear(
                &[*gate, *up],
                Store::Gated(*activation),
                *out,
            )?]),
            Op::RopeStore { q, k, v, layer } => Ok(vec![self.rope_store([*q, *k, *v], *layer)?]),
            Op::Attention { q, layer, out } => Ok(vec![self.attention(*q, *layer, *out)?]),
            Op::Select { x, out } => Ok(vec![Step::Select {
                pipeline: self
                    .pipeline(Kernel::Select, &[("COLS", self.program.buffer(*x).width)])?,
                x: *x,
                out: *out,
            }]),
            Op::Head { product, logits } => {
                Ok(vec![self.linear(&[*product], Store::Set, *logits)?])
            }
        }
    }

    fn pipeline(
        &mut self,
        kernel: Kernel,
        constants: &[(&'static str, usize)],
    ) -> Result<Arc<Pipeline>, BackendError> {
        let constants: Vec<_> = constants.iter().map(|(n, v)| (*n, *v as f64)).collect();
        self.pipelines.get(self.gpu, kernel, &constants)
    }

    fn matrix(&mut self, weights: &[WeightId]) -> Result<Arc<DeviceMatrix>, BackendError> {
        if let Some(placed) = self.matrices.get(weights) {
            return Ok(Arc::clone(placed));
        }
        let program = self.program;
        let descs: Vec<_> = weights.iter().map(|id| program.weight(*id)).collect();
        let placed = matrix::place(self.gpu, &self.source, &descs, &mut *self.progress)?;
        let placed = Arc::new(placed);
        self.matrices.insert(weights.to_vec(), Arc::clone(&placed));
        Ok(placed)
    }

    fn embed(&mut self, table: WeightId, out: BufferId) -> Result<Step, BackendError> {
        let matrix = self.matrix(&[table])?;
        if matrix.format.is_ternary() {
            return Err(self
                .gpu
                .unsupported(format!("an embedding of {}", matrix.format)));
        }
        Ok(Step::Embed {
            pipeline: self.pipeline(Kernel::Embed(matrix.format), &[("COLS", matrix.cols)])?,
            pieces: self.pieces(&matrix, [1.0; 2])?,
            matrix,
            out,
        })
    }

    fn encode(
        &mut self,
        x: BufferId,
        norm: Option<(WeightId, f32)>,
        out: BufferId,
    ) -> Result<Step, BackendError> {
        let program = self.program;
        let (width, encoding) = (program.buffer(out).width, program.buffer(out).encoding);
        let kernel = Kernel::Encode {
            norm: norm.is_some(),
            encoding,
            vectors: (width / 4).div_ceil(self.gpu.target.threads as usize) as u32,
        };
        let mut constants = vec![("COLS", width as f64)];
        let mut gain = None;
        if let Some((weight, eps)) = norm {
            constants.push(("EPS", f64::from(eps)));
            if !self.vectors.contains_key(&weight) {
                let desc = program.weight(weight);
                let placed = matrix::place_vector(self.gpu, &self.source, desc)?;
                self.vectors.insert(weight, Arc::new(placed));
            }
            gain = self.vectors.get(&weight).cloned();
        }
        Ok(Step::Encode {
            pipeline: self.pipelines.get(self.gpu, kernel, &constants)?,
            x,
            gain,
            out,
        })
    }

    fn linear(
        &mut self,
        products: &[Product],
        store: Store,
        out: BufferId,
    ) -> Result<Step, BackendError> {
        let weights: Vec<_> = products.iter().map(|product| product.weight).collect();
        let matrix = self.matrix(&weights)?;
        let (format, cols) = (matrix.format, matrix.cols);
        let blocks = matches!(format, Format::TQ1_0 | Format::TQ2_0);
        if blocks && cols > MAX_BLOCK_COLS {
            return Err(self.gpu.unsupported(format!(
                "rows of {cols} weights of {format}: up to {MAX_BLOCK_COLS} are known"
            )));
        }
        let constants = [("COLS", cols), ("WIDTH", self.program.buffer(out).width)];
        let gemm = match format.is_ternary() {
            true => Some(self.pipeline(Kernel::Gemm(format, store), &constants)?),
            false => None,
        };
        let factor = |i: usize| products[i % products.len()].scale;
        Ok(Step::Linear(Linear {
            gemv: self.pipeline(Kernel::Gemv(format, store), &constants)?,
            gemm,
            pieces: self.pieces(&matrix, [factor(0), factor(1)])?,
            matrix,
            x: products[0].x,
            out,
        }))
    }

    /// What shaders see of each piece, as `shaders/shared/piece.wgsl` has it.
    fn pieces(
        &self,
        matrix: &DeviceMatrix,
        factors: [f32; 2],
    ) -> Result<Vec<Buffer>, BackendError> {
        let make = |piece: &matrix::Piece| {
            let words = [
                piece.first_row as u32,
                piece.rows as u32,
                matrix.scales[0].to_bits(),
                matrix.scales[1].to_bits(),
                factors[0].to_bits(),
                factors[1].to_bits(),
                0,
                0,
            ];
            let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
            let buffer = self.gpu.buffer("a matrix's numbers", 32, usage)?;
            self.gpu.upload(&buffer, 0, bytemuck::bytes_of(&words))?;
            Ok(buffer)
        };
        matrix.pieces.iter().map(make).collect()
    }

    fn rope_store(&mut self, [q, k, v]: [BufferId; 3], layer: usize) -> Result<Step, BackendError> {
        let shape = &self.program.attention;
        let kernel = Kernel::RopeStore(self.program.cache_type, shape.rope.pairing);
        let constants = [
            ("HEADS", shape.heads),
            ("KV_HEADS", shape.kv_heads),
            ("HEAD_DIM", shape.head_dim),
            ("DIMS", shape.rope.dims),
        ];
        Ok(Step::RopeStore {
            pipeline: self.pipeline(kernel, &constants)?,
            q,
            k,
            v,
            layer,
        })
    }

    fn attention(
        &mut self,
        q: BufferId,
        layer: usize,
        out: BufferId,
    ) -> Result<Step, BackendError> {
        let shape = &self.program.attention;
        let constants = [
            ("HEADS", shape.heads as f64),
            ("KV_HEADS", shape.kv_heads as f64),
            ("HEAD_DIM", shape.head_dim as f64),
            ("SCALE", f64::from(shape.scale)),
        ];
        let (passes, merged): (&[Softmax], _) = match shape.round_weights {
            true => (&[Softmax::Totals, Softmax::Rounded], Softmax::Rounded),
            false => (&[Softmax::Online], Softmax::Online),
        };
        let cache_type = self.program.cache_type;
        let mut span = |softmax: &Softmax| {
            let kernel = Kernel::AttentionSpan(cache_type, *softmax);
            self.pipelines.get(self.gpu, kernel, &constants)
        };
        Ok(Step::Attention {
            spans: passes.iter().map(&mut span).collect::<Result<_, _>>()?,
            merge: self.pipeline(
                Kernel::AttentionMerge(merged),
                &[("HEADS", shape.heads), ("HEAD_DIM", shape.head_dim)],
            )?,
            q,
            layer,
            out,
        })
    }
}

/// Buffers that dispatches of every step may need.
pub(crate) struct Shared<'a> {
    pub(crate) gpu: &'a Gpu,
    pub(crate) program: &'a Program,
    pub(crate) activations: &'a [Activations],
    pub(crate) work: &'a Buffer,
    pub(crate) tokens: &'a Buffer,
    pub(crate) selected: &'a Buffer,
}

impl Shared<'_> {
    fn activations(&self, id: BufferId) -> &Activations {
        &self.activations[id.0 as usize]
    }

    /// The dispatches of a step whose buffers do not depend on the sequence.
    pub(crate) fn dispatches(&self, step: &Step) -> Vec<Dispatch> {
        match step {
            Step::Embed {
                pipeline,
                matrix,
                pieces,
                out,
            } => self.embed(pipeline, matrix, pieces, *out),
            Step::Encode {
                pipeline,
                x,
                gain,
                out,
            } => {
                let (x, to) = (self.activations(*x), self.activations(*out));
                let mut buffers = vec![
                    ("work", self.work),
                    ("x", &x.values),
                    ("results", &to.values),
                ];
                buffers.extend(to.scales.as_ref().map(|scales| ("scales", scales)));
                buffers.extend(gain.as_ref().map(|gain| ("gain", &**gain)));
                vec![self.dispatch(pipeline, &buffers, Grid::Rows, *out)]
            }
            Step::Linear(linear) => self.linear(linear),
            Step::Select { pipeline, x, out } => {
                let buffers = [
                    ("x", &self.activations(*x).values),
                    ("results", &self.activations(*out).values),
                    ("selected", self.selected),
                ];
                let width = self.program.buffer(*x).width;
                let grid = Grid::ByRow((width / 4).div_ceil(64) as u32);
                vec![self.dispatch(pipeline, &buffers, grid, *out)]
            }
            Step::RopeStore { .. } | Step::Attention { .. } => Vec::new(),
        }
    }

    fn dispatch(
        &self,
        pipeline: &Arc<Pipeline>,
        buffers: &[(&str, &Buffer)],
        grid: Grid,
        out: BufferId,
    ) -> Dispatch {
        Dispatch {
            pipeline: Arc::clone(pipeline),
            bind: pipeline.bind(self.gpu, buffers),
            grid,
            rows: self.program.buffer(out).rows,
            when: (1, u32::MAX),
        }
    }

    fn embed(
        &self,
        pipeline: &Arc<Pipeline>,
        matrix: &DeviceMatrix,
        pieces: &[Buffer],
        out: BufferId,
    ) -> Vec<Dispatch> {
        let each = |(piece, numbers): (&matrix::Piece, &Buffer)| {
            let mut buffers = vec![
                ("work", self.work),
                ("piece", numbers),
                ("results", &self.activations(out).values),
                ("weights", &piece.weights),
                ("tokens", self.tokens),
            ];
            buffers.extend(piece.scales.as_ref().map(|scales| ("scales", scales)));
            let grid = Grid::ByRow((matrix.cols / 4).div_ceil(64) as u32);
            self.dispatch(pipeline, &buffers, grid, out)
        };
        matrix.pieces.iter().zip(pieces).map(each).collect()
    }

    fn linear(&self, linear: &Linear) -> Vec<Dispatch> {
        let (x, out) = (self.activations(linear.x), self.activations(linear.out));
        let mut all = Vec::new();
        for (piece, numbers) in linear.matrix.pieces.iter().zip(&linear.pieces) {
            let mut buffers = vec![
                ("work", self.work),
                ("piece", numbers),
                ("results", &out.values),
                ("codes", &piece.weights),
                ("weights", &piece.weights),
                ("x", &x.values),
            ];
            buffers.extend(x.scales.as_ref().map(|scales| ("x_scales", scales)));
            buffers.extend(piece.scales.as_ref().map(|scales| ("scales", scales)));
            let mut add = |pipeline: &Arc<Pipeline>, when: (u32, u32), tiled: bool| {
                let height = pipeline
                    .kernel
                    .rows_per_workgroup(self.gpu.target)
                    .unwrap_or(1);
                let x = (piece.rows as u32).div_ceil(height);
                let grid = if tiled {
                    Grid::ByTile(x)
                } else {
                    Grid::ByRow(x)
                };
                all.push(Dispatch {
                    when,
                    ..self.dispatch(pipeline, &buffers, grid, linear.out)
                });
            };
            match &linear.gemm {
                Some(gemm) => {
                    add(&linear.gemv, (1, GEMM_ROWS), false);
                    add(gemm, (GEMM_ROWS, u32::MAX), true);
                }
                None => add(&linear.gemv, (1, u32::MAX), false),
            }
        }
        all
    }
}
