//! Rows of the embedding.

use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::format::Storage;
use bitnet_kernels::program::{BufferId, Rows, WeightId};
use bitnet_kernels::wgsl::Kernel;
use wgpu::Buffer;

use crate::loader::Loader;
use crate::matrix::{DeviceMatrix, Layout, Piece};
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

pub(crate) struct Embed {
    pipeline: Arc<Pipeline>,
    table: Arc<DeviceMatrix>,
    /// Of each piece of the table.
    numbers: Vec<Buffer>,
    out: BufferId,
    rows: Rows,
    bound: Vec<Bound>,
}

impl Embed {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        table: WeightId,
        scale: f32,
        out: BufferId,
    ) -> Result<Embed, BackendError> {
        let table = loader.matrix(&[table], Layout::Alternating)?;
        if !table.format.storage().is_some_and(Storage::embeds) {
            let what = format!("an embedding of {}", table.format);
            return Err(loader.gpu.unsupported(what));
        }
        let constants = [("COLS", table.cols as f64)];
        Ok(Embed {
            pipeline: loader.pipeline(Kernel::Embed(table.format), &constants)?,
            numbers: table.numbers(loader.gpu, &[scale])?,
            table,
            out,
            rows: loader.program.buffer(out).rows,
            bound: Vec::new(),
        })
    }
}

impl Step for Embed {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        let pieces = self.table.pieces.iter().zip(&self.numbers);
        let bind = |(piece, numbers): (&Piece, &Buffer)| {
            let mut bindings = vec![
                ("extent", buffers.numbers),
                ("piece", numbers),
                ("results", buffers.values(self.out)),
                ("weights", &piece.weights),
                ("inputs", buffers.numbers),
            ];
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
        let workgroups = (self.table.cols / 4).div_ceil(64) as u32;
        for bound in &self.bound {
            recording.dispatch(bound, part.extent, (workgroups, part.rows, 1));
        }
    }
}
