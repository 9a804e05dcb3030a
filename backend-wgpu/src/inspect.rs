//! Parts of a pass, and what buffers and caches hold.

use std::ops::Range;

use bitnet_kernels::program::{BufferId, Rows};
use bitnet_kernels::{BackendError, Batch, CacheId, Inspect, LayerContents};

use crate::backend::WgpuBackend;
use crate::recording::Recording;

impl Inspect for WgpuBackend {
    fn run(&mut self, batch: &Batch<'_>, ops: Range<usize>) -> Result<(), BackendError> {
        let passes = self.prepare(std::slice::from_ref(batch), 0)?;
        if self.program.writes_state(ops.clone()) {
            self.states_stand(batch, |_| None);
        }
        let mut kernels = Vec::new();
        let mut encoder = self.gpu.encoder();
        let mut recording = Recording::begin(&mut encoder, &mut kernels, None);
        for pass in &passes {
            for step in &self.steps[ops.clone()] {
                step.record(pass, &mut recording);
            }
        }
        drop(recording);
        let index = self.gpu.submit([encoder.finish()], kernels.len());
        for kernel in kernels {
            self.recorder.note(kernel);
        }
        self.gpu.wait(index)
    }

    fn read(&mut self, buffer: BufferId, rows: usize) -> Result<Vec<f32>, BackendError> {
        self.batch_buffers.activations[buffer.0 as usize].read(&self.gpu, rows)
    }

    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), BackendError> {
        let desc = self.program.buffer(buffer);
        let rows = values.len() / desc.width.max(1);
        match desc.rows {
            Rows::Batch => self.reserve(rows, 1)?,
            Rows::Selected => self.reserve(1, rows)?,
            Rows::Routed { experts } => self.reserve(rows.div_ceil(experts), 1)?,
        }
        let buffer = &self.batch_buffers.activations[buffer.0 as usize].values;
        self.gpu.upload(buffer, 0, bytemuck::cast_slice(values))
    }

    fn read_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        positions: usize,
    ) -> Result<LayerContents, BackendError> {
        self.cache(cache)?.read(&self.gpu, layer, positions)
    }

    fn write_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        contents: &LayerContents,
    ) -> Result<(), BackendError> {
        self.cache(cache)?.write(&self.gpu, layer, contents)
    }
}
