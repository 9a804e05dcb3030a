//! Rows made of parts that go to two buffers in turn.

use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::program::{BufferId, Rows};
use bitnet_kernels::wgsl::Kernel;

use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

pub(crate) struct Deinterleave {
    pipeline: Arc<Pipeline>,
    x: BufferId,
    outs: [BufferId; 2],
    rows: Rows,
    /// Of either output.
    width: usize,
    bound: Option<Bound>,
}

impl Deinterleave {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        x: BufferId,
        part: usize,
        outs: [BufferId; 2],
    ) -> Result<Deinterleave, BackendError> {
        if !part.is_multiple_of(4) {
            return Err(loader.gpu.unsupported(format!(
                "rows with parts of {part} values in turn: multiples of 4 are known"
            )));
        }
        let desc = loader.program.buffer(outs[0]);
        let constants = [("COLS", desc.width as f64), ("PART", part as f64)];
        Ok(Deinterleave {
            pipeline: loader.pipeline(Kernel::Deinterleave, &constants)?,
            x,
            outs,
            rows: desc.rows,
            width: desc.width,
            bound: None,
        })
    }
}

impl Step for Deinterleave {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        let bindings = [
            ("x", buffers.values(self.x)),
            ("first", buffers.values(self.outs[0])),
            ("second", buffers.values(self.outs[1])),
        ];
        self.bound = Some(self.pipeline.bind(buffers.gpu, &bindings));
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let part = pass.part(self.rows);
        if let (Some(bound), 1..) = (&self.bound, part.rows) {
            let workgroups = (self.width / 4).div_ceil(64) as u32;
            recording.dispatch(bound, part.extent, (workgroups, part.rows, 1));
        }
    }
}
