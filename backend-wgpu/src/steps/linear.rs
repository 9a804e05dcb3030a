//! Matrix products.

use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::format::Storage;
use bitnet_kernels::program::{self, BufferId, Rows};
use bitnet_kernels::wgsl::{Kernel, MAX_BLOCK_COLS, Store};
use wgpu::Buffer;

use crate::loader::Loader;
use crate::matrix::DeviceMatrix;
use crate::pass::{Part, Pass};
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

/// From this many rows of activations on, a product runs over tiles. Either way gives the same
/// bits.
const GEMM_ROWS: u32 = 20;

/// Rows of activations in a tile.
const TILE_ROWS: u32 = 64;

/// One or more products, one after another.
pub(crate) struct Linear {
    products: Vec<Product>,
}

/// The product of a matrix, or of a gate and its factor.
pub(crate) struct Product {
    gemv: Arc<Pipeline>,
    /// Where the storage [has one](Storage::has_gemm).
    gemm: Option<Arc<Pipeline>>,
    matrix: Arc<DeviceMatrix>,
    /// Of each piece of the matrix.
    numbers: Vec<Buffer>,
    x: BufferId,
    out: BufferId,
    rows: Rows,
    bound: Vec<BoundPiece>,
}

/// A piece of the matrix, bound, with the workgroups that its rows take.
struct BoundPiece {
    gemv: (Bound, u32),
    gemm: Option<(Bound, u32)>,
}

impl Linear {
    pub(crate) fn new(products: Vec<Product>) -> Linear {
        Linear { products }
    }
}

impl Product {
    /// `products` is one, or a gate and its factor.
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        products: &[program::Product],
        store: Store,
        out: BufferId,
    ) -> Result<Product, BackendError> {
        let weights: Vec<_> = products.iter().map(|product| product.weight).collect();
        let matrix = loader.matrix(&weights)?;
        let (format, cols) = (matrix.format, matrix.cols);
        let storage = format.storage();
        if storage == Some(Storage::ScaledTrits) && cols > MAX_BLOCK_COLS {
            return Err(loader.gpu.unsupported(format!(
                "rows of {cols} weights of {format}: up to {MAX_BLOCK_COLS} are known"
            )));
        }
        let desc = loader.program.buffer(out);
        let constants = [("COLS", cols as f64), ("WIDTH", desc.width as f64)];
        let gemm = storage.is_some_and(Storage::has_gemm);
        let gemm = gemm.then_some(Kernel::Gemm(format, store));
        let factor = |i: usize| products[i % products.len()].scale;
        Ok(Product {
            gemv: loader.pipeline(Kernel::Gemv(format, store), &constants)?,
            gemm: gemm
                .map(|kernel| loader.pipeline(kernel, &constants))
                .transpose()?,
            numbers: matrix.numbers(loader.gpu, [factor(0), factor(1)])?,
            matrix,
            x: products[0].x,
            out,
            rows: desc.rows,
            bound: Vec::new(),
        })
    }

    fn bind(&mut self, buffers: &Buffers<'_>) {
        let x = buffers.activations(self.x);
        let pieces = self.matrix.pieces.iter().zip(&self.numbers);
        self.bound = pieces
            .map(|(piece, numbers)| {
                let mut bindings = vec![
                    ("extent", buffers.extents),
                    ("piece", numbers),
                    ("results", buffers.values(self.out)),
                    ("codes", &piece.weights),
                    ("weights", &piece.weights),
                    ("x", &x.values),
                ];
                bindings.extend(x.scales.as_ref().map(|scales| ("x_scales", scales)));
                bindings.extend(piece.scales.as_ref().map(|scales| ("scales", scales)));
                let bind = |pipeline: &Arc<Pipeline>| {
                    let kernel = pipeline.kernel;
                    let height = kernel.rows_per_workgroup(buffers.gpu.target).unwrap_or(1);
                    let workgroups = (piece.rows as u32).div_ceil(height);
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
                Some((gemm, workgroups)) if rows >= GEMM_ROWS => {
                    recording.dispatch(gemm, extent, (*workgroups, rows.div_ceil(TILE_ROWS), 1));
                }
                _ => {
                    let (gemv, workgroups) = &piece.gemv;
                    recording.dispatch(gemv, extent, (*workgroups, rows, 1));
                }
            }
        }
    }
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
