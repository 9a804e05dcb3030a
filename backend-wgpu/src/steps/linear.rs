//! Matrix products.

use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::format::Storage;
use bitnet_kernels::program::{self, BufferId, Op, Program, Rows};
use bitnet_kernels::wgsl::{Kernel, MAX_BLOCK_COLS, Store};
use wgpu::Buffer;

use crate::loader::Loader;
use crate::matrix::{DeviceMatrix, Layout, MOST_TOGETHER, Piece};
use crate::pass::{FEW_ROWS, Part, Pass};
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

/// What shaders call the outputs of matrices that lie together.
const OUTS: [&str; MOST_TOGETHER] = ["results", "second", "third", "fourth"];

/// Products that are computed as one.
pub(super) struct Together<'a> {
    products: Vec<&'a program::Product>,
    pub(super) outs: Vec<BufferId>,
    pub(super) store: Store,
}

impl<'a> Together<'a> {
    /// The products of an operation. Those of the same activations with matrices of one format are
    /// computed as one.
    pub(super) fn of(program: &Program, op: &'a Op) -> Vec<Together<'a>> {
        match op {
            Op::Linear {
                products,
                accumulate,
            } => {
                let (own, outs): (Vec<_>, Vec<_>) =
                    products.iter().map(|(p, out)| (p, *out)).unzip();
                let kind = |product: &program::Product| {
                    let weight = program.weight(product.weight);
                    (product.x, weight.format, weight.cols)
                };
                let alike = own.windows(2).all(|pair| kind(pair[0]) == kind(pair[1]));
                if alike && !accumulate && (2..=MOST_TOGETHER).contains(&own.len()) {
                    let store = Store::Stacked(own.len() as u32);
                    return vec![Together {
                        products: own,
                        outs,
                        store,
                    }];
                }
                let alone = |(product, out)| Together {
                    products: vec![product],
                    outs: vec![out],
                    store: if *accumulate { Store::Add } else { Store::Set },
                };
                own.into_iter().zip(outs).map(alone).collect()
            }
            Op::GatedLinear {
                gate,
                up,
                activation,
                out,
            } => vec![Together {
                products: vec![gate, up],
                outs: vec![*out],
                store: Store::Gated(*activation),
            }],
            Op::Head { product, logits } => vec![Together {
                products: vec![product],
                outs: vec![*logits],
                store: Store::Set,
            }],
            _ => Vec::new(),
        }
    }

    /// The activations of all of them.
    pub(super) fn x(&self) -> BufferId {
        self.products[0].x
    }

    /// The matrices on the device.
    pub(super) fn matrix(
        &self,
        loader: &mut Loader<'_>,
    ) -> Result<Arc<DeviceMatrix>, BackendError> {
        let weights: Vec<_> = self.products.iter().map(|product| product.weight).collect();
        let layout = match self.store {
            Store::Stacked(_) | Store::Rotated(..) => Layout::Stacked,
            Store::Set | Store::Add | Store::Gated(_) => Layout::Alternating,
        };
        loader.matrix(&weights, layout)
    }

    /// The factors of the matrices.
    pub(super) fn factors(&self) -> Vec<f32> {
        self.products.iter().map(|product| product.scale).collect()
    }

    /// Sizes as pipeline constants: where the outputs of matrices that follow one another begin,
    /// and the values in a row of the output, of all of them together.
    pub(super) fn constants(&self, program: &Program) -> Vec<(&'static str, f64)> {
        let widths = self.outs.iter().map(|out| program.buffer(*out).width);
        let ends: Vec<usize> = widths
            .scan(0, |end, width| {
                *end += width;
                Some(*end)
            })
            .collect();
        let all = ends[ends.len() - 1];
        let end = |index: usize| *ends.get(index).unwrap_or(&all) as f64;
        let cols = program.weight(self.products[0].weight).cols;
        vec![
            ("COLS", cols as f64),
            ("WIDTH", all as f64),
            ("SECOND", end(0)),
            ("THIRD", end(1)),
            ("FOURTH", end(2)),
        ]
    }
}

/// One or more products, one after another.
pub(crate) struct Linear {
    products: Vec<Product>,
}

/// The product of a matrix, or of several that lie together.
struct Product {
    gemv: Arc<Pipeline>,
    /// Where the storage [has one](Storage::has_gemm).
    gemm: Option<Arc<Pipeline>>,
    matrix: Arc<DeviceMatrix>,
    /// Of each piece of the matrix.
    numbers: Vec<Buffer>,
    x: BufferId,
    outs: Vec<BufferId>,
    rows: Rows,
    bound: Vec<BoundPiece>,
}

/// A piece of the matrix, bound, with the workgroups that its rows take.
struct BoundPiece {
    gemv: (Bound, u32),
    gemm: Option<(Bound, u32)>,
}

impl Linear {
    /// The products of an operation.
    pub(crate) fn load(loader: &mut Loader<'_>, op: &Op) -> Result<Linear, BackendError> {
        let together = Together::of(loader.program, op);
        let products = together
            .iter()
            .map(|together| Product::load(loader, together));
        Ok(Linear {
            products: products.collect::<Result<_, _>>()?,
        })
    }
}

impl Product {
    fn load(loader: &mut Loader<'_>, together: &Together<'_>) -> Result<Product, BackendError> {
        let matrix = together.matrix(loader)?;
        let (format, cols) = (matrix.format, matrix.cols);
        let storage = format.storage();
        if storage == Some(Storage::ScaledTrits) && cols > MAX_BLOCK_COLS {
            return Err(loader.gpu.unsupported(format!(
                "rows of {cols} weights of {format}: up to {MAX_BLOCK_COLS} are known"
            )));
        }
        let constants = together.constants(loader.program);
        let gemm = storage.is_some_and(Storage::has_gemm);
        let gemm = gemm.then_some(Kernel::Gemm(format, together.store));
        let gemv = Kernel::Gemv(format, together.store, None);
        Ok(Product {
            gemv: loader.pipeline(gemv, &constants)?,
            gemm: gemm
                .map(|kernel| loader.pipeline(kernel, &constants))
                .transpose()?,
            numbers: matrix.numbers(loader.gpu, &together.factors())?,
            matrix,
            x: together.x(),
            rows: loader.program.buffer(together.outs[0]).rows,
            outs: together.outs.clone(),
            bound: Vec::new(),
        })
    }

    fn bind(&mut self, buffers: &Buffers<'_>) {
        let x = buffers.activations(self.x);
        let pieces = self.matrix.pieces.iter().zip(&self.numbers);
        self.bound = pieces
            .map(|(piece, numbers)| {
                let mut bindings = bindings(buffers, (piece, numbers), &self.outs);
                bindings.push(("x", &x.values));
                bindings.extend(x.scales.as_ref().map(|scales| ("x_scales", scales)));
                let bind = |pipeline: &Arc<Pipeline>| {
                    let workgroups = workgroups(buffers, pipeline, piece);
                    (pipeline.bind(buffers.gpu, &bindings), workgroups)
                };
                BoundPiece {
                    gemv: bind(&self.gemv),
                    gemm: self.gemm.as_ref().map(bind),
                }
            })
            .collect();
    }

    fn record(&self, Part { extent, rows }: Part, recording: &mut Recording<'_>) {
        for piece in &self.bound {
            match &piece.gemm {
                Some((gemm, workgroups)) if rows > FEW_ROWS => {
                    let tokens = gemm.pipeline.kernel.tokens_per_workgroup().unwrap_or(1);
                    recording.dispatch(gemm, extent, (*workgroups, rows.div_ceil(tokens), 1));
                }
                _ => {
                    let (gemv, workgroups) = &piece.gemv;
                    recording.dispatch(gemv, extent, (*workgroups, rows, 1));
                }
            }
        }
    }
}

/// A piece of a matrix with its numbers, and the outputs, by the names that shaders give them.
pub(super) fn bindings<'a>(
    buffers: &Buffers<'a>,
    (piece, numbers): (&'a Piece, &'a Buffer),
    outs: &[BufferId],
) -> Vec<(&'static str, &'a Buffer)> {
    let mut bindings = vec![
        ("extent", buffers.numbers),
        ("piece", numbers),
        ("codes", &piece.weights),
        ("weights", &piece.weights),
    ];
    bindings.extend(piece.scales.as_ref().map(|scales| ("scales", scales)));
    let outs = outs.iter().map(|out| buffers.values(*out));
    bindings.extend(OUTS.into_iter().zip(outs));
    bindings
}

/// Workgroups that the rows of a piece take.
pub(super) fn workgroups(buffers: &Buffers<'_>, pipeline: &Pipeline, piece: &Piece) -> u32 {
    let height = pipeline.kernel.rows_per_workgroup(buffers.gpu.target);
    (piece.rows as u32).div_ceil(height.unwrap_or(1))
}

impl Step for Linear {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        for product in &mut self.products {
            product.bind(buffers);
        }
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        for product in &self.products {
            let part = pass.part(product.rows);
            if part.rows > 0 {
                product.record(part, recording);
            }
        }
    }
}
