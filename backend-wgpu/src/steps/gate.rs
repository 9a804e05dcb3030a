//! Rows times the activation of a gate, in place.

use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::program::{Activation, BufferId, Rows};
use bitnet_kernels::wgsl::Kernel;

use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

pub(crate) struct Gate {
    pipeline: Arc<Pipeline>,
    x: BufferId,
    gate: BufferId,
    rows: Rows,
    width: usize,
    bound: Option<Bound>,
}

impl Gate {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        x: BufferId,
        gate: BufferId,
        activation: Activation,
    ) -> Result<Gate, BackendError> {
        let desc = loader.program.buffer(x);
        let constants = [("COLS", desc.width as f64)];
        Ok(Gate {
            pipeline: loader.pipeline(Kernel::Gate(activation), &constants)?,
            x,
            gate,
            rows: desc.rows,
            width: desc.width,
            bound: None,
        })
    }
}

impl Step for Gate {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        let bindings = [
            ("x", buffers.values(self.x)),
            ("gate", buffers.values(self.gate)),
        ];
        self.bound = Some(self.pipeline.bind(buffers.gpu, &bindings));
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let part = pass.part(self.rows);
        if let (Some(bound), 1..) = (&self.bound, part.rows) {
            let workgroups = self.width.div_ceil(64) as u32;
            recording.dispatch(bound, part.extent, (workgroups, part.rows, 1));
        }
    }
}
