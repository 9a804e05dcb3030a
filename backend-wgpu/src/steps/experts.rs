//! Experts: the routing of tokens, products with the matrices of those that were chosen, and the
//! sum of their results.

use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::format::Format;
use bitnet_kernels::program::{self, BufferId, Experts, Rows};
use bitnet_kernels::wgsl::{Kernel, MAX_BLOCK_COLS, MAX_EXPERTS, Store};
use wgpu::Buffer;

use crate::loader::Loader;
use crate::matrix::{DeviceMatrix, Layout, Piece};
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

pub(crate) struct Route {
    pipeline: Arc<Pipeline>,
    buffers: [BufferId; 3],
    bound: Option<Bound>,
}

impl Route {
    /// `buffers` are the logits, the chosen experts and their shares.
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        experts: Experts,
        buffers: [BufferId; 3],
    ) -> Result<Route, BackendError> {
        if experts.count > MAX_EXPERTS {
            return Err(loader.gpu.unsupported(format!(
                "{} experts: up to {MAX_EXPERTS} are known",
                experts.count
            )));
        }
        let constants = [
            ("EXPERTS", experts.count as f64),
            ("USED", experts.used as f64),
        ];
        Ok(Route {
            pipeline: loader.pipeline(Kernel::Route, &constants)?,
            buffers,
            bound: None,
        })
    }
}

impl Step for Route {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        let [logits, chosen, shares] = self.buffers.map(|id| buffers.values(id));
        let bindings = [("logits", logits), ("chosen", chosen), ("shares", shares)];
        self.bound = Some(self.pipeline.bind(buffers.gpu, &bindings));
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let part = pass.part(Rows::Batch);
        if let (Some(bound), 1..) = (&self.bound, part.rows) {
            recording.dispatch(bound, part.extent, (part.rows, 1, 1));
        }
    }
}

/// The product of the experts' matrices, or of their gates and factors.
pub(crate) struct ExpertLinear {
    pipeline: Arc<Pipeline>,
    matrix: Arc<DeviceMatrix>,
    /// Of each piece of the matrix.
    numbers: Vec<Buffer>,
    x: BufferId,
    chosen: BufferId,
    out: BufferId,
    rows: Rows,
    /// Workgroups that the rows of an expert take.
    workgroups: u32,
    bound: Vec<Bound>,
}

impl ExpertLinear {
    /// `products` is one, or a gate and its factor.
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        products: &[program::Product],
        (store, clamp): (Store, Option<f32>),
        experts: Experts,
        [chosen, out]: [BufferId; 2],
    ) -> Result<ExpertLinear, BackendError> {
        let weights: Vec<_> = products.iter().map(|product| product.weight).collect();
        let matrix = loader.matrix(&weights, Layout::Alternating)?;
        let (format, cols) = (matrix.format, matrix.cols);
        if !matches!(format, Format::TQ1_0 | Format::TQ2_0) || cols > MAX_BLOCK_COLS {
            return Err(loader.gpu.unsupported(format!(
                "experts with rows of {cols} weights of {format}: TQ1_0 and TQ2_0 up to \
                 {MAX_BLOCK_COLS} are known"
            )));
        }
        let program = loader.program;
        let desc = program.buffer(out);
        let rows = desc.width * products.len();
        let sharing = match program.buffer(products[0].x).rows {
            Rows::Routed { .. } => 1,
            Rows::Batch | Rows::Selected => experts.used,
        };
        let mut constants = vec![
            ("COLS", cols as f64),
            ("WIDTH", desc.width as f64),
            ("EXPERT_ROWS", rows as f64),
            ("SHARING", sharing as f64),
        ];
        constants.extend(clamp.map(|limit| ("LIMIT", f64::from(limit))));
        let kernel = Kernel::ExpertGemv {
            format,
            store,
            clamped: clamp.is_some(),
        };
        let height = kernel.rows_per_workgroup(loader.gpu.target).unwrap_or(1);
        let factors: Vec<f32> = products.iter().map(|product| product.scale).collect();
        Ok(ExpertLinear {
            pipeline: loader.pipeline(kernel, &constants)?,
            numbers: matrix.numbers(loader.gpu, &factors)?,
            matrix,
            x: products[0].x,
            chosen,
            out,
            rows: desc.rows,
            workgroups: (rows as u32).div_ceil(height),
            bound: Vec::new(),
        })
    }
}

impl Step for ExpertLinear {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        let x = buffers.activations(self.x);
        let pieces = self.matrix.pieces.iter().zip(&self.numbers);
        let bind = |(piece, numbers): (&Piece, &Buffer)| {
            let mut bindings = vec![
                ("extent", buffers.numbers),
                ("piece", numbers),
                ("results", buffers.values(self.out)),
                ("codes", &piece.weights),
                ("x", &x.values),
                ("chosen", buffers.values(self.chosen)),
            ];
            bindings.extend(x.scales.as_ref().map(|scales| ("x_scales", scales)));
            bindings.extend(piece.scales.as_ref().map(|scales| ("scales", scales)));
            self.pipeline.bind(buffers.gpu, &bindings)
        };
        self.bound = pieces.map(bind).collect();
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let part = pass.part(self.rows);
        if part.rows == 0 {
            return;
        }
        // An expert's rows lie in one piece or two; whichever has a row writes it.
        for bound in &self.bound {
            recording.dispatch(bound, part.extent, (self.workgroups, part.rows, 1));
        }
    }
}

pub(crate) struct Mix {
    pipeline: Arc<Pipeline>,
    buffers: [BufferId; 3],
    width: usize,
    bound: Option<Bound>,
}

impl Mix {
    /// `buffers` are the experts' rows, their shares and what they are added to.
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        buffers: [BufferId; 3],
    ) -> Result<Mix, BackendError> {
        let [_, shares, out] = buffers.map(|id| loader.program.buffer(id));
        let (used, width) = (shares.width, out.width);
        let constants = [("COLS", width as f64), ("USED", used as f64)];
        Ok(Mix {
            pipeline: loader.pipeline(Kernel::Mix, &constants)?,
            buffers,
            width,
            bound: None,
        })
    }
}

impl Step for Mix {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        let [x, shares, out] = self.buffers.map(|id| buffers.values(id));
        let bindings = [("x", x), ("shares", shares), ("results", out)];
        self.bound = Some(self.pipeline.bind(buffers.gpu, &bindings));
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let part = pass.part(Rows::Batch);
        if let (Some(bound), 1..) = (&self.bound, part.rows) {
            let workgroups = self.width.div_ceil(64) as u32;
            recording.dispatch(bound, part.extent, (workgroups, part.rows, 1));
        }
    }
}
