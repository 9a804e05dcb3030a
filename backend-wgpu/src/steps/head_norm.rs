//! The norm of each head, in place.

use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::program::{BufferId, Rows, WeightId};
use bitnet_kernels::wgsl::Kernel;
use wgpu::Buffer;

use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

pub(crate) struct HeadNorm {
    pipeline: Arc<Pipeline>,
    gain: Arc<Buffer>,
    x: BufferId,
    rows: Rows,
    heads: u32,
    bound: Option<Bound>,
}

impl HeadNorm {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        x: BufferId,
        gain: WeightId,
        eps: f32,
    ) -> Result<HeadNorm, BackendError> {
        let (desc, dim) = (loader.program.buffer(x), loader.program.weight(gain).cols);
        let heads = desc.width / dim;
        let constants = [
            ("HEADS", heads as f64),
            ("HEAD_DIM", dim as f64),
            ("EPS", f64::from(eps)),
        ];
        Ok(HeadNorm {
            pipeline: loader.pipeline(Kernel::HeadNorm, &constants)?,
            gain: loader.vector(gain)?,
            x,
            rows: desc.rows,
            heads: heads as u32,
            bound: None,
        })
    }
}

impl Step for HeadNorm {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        let bindings = [("x", buffers.values(self.x)), ("gain", &*self.gain)];
        self.bound = Some(self.pipeline.bind(buffers.gpu, &bindings));
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let part = pass.part(self.rows);
        if let (Some(bound), 1..) = (&self.bound, part.rows) {
            recording.dispatch(bound, part.extent, (self.heads, part.rows, 1));
        }
    }
}
