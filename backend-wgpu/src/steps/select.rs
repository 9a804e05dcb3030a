//! The rows whose logits are wanted.

use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::program::{BufferId, Rows};
use bitnet_kernels::wgsl::Kernel;

use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

pub(crate) struct Select {
    pipeline: Arc<Pipeline>,
    x: BufferId,
    out: BufferId,
    width: usize,
    bound: Option<Bound>,
}

impl Select {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        x: BufferId,
        out: BufferId,
    ) -> Result<Select, BackendError> {
        let width = loader.program.buffer(x).width;
        Ok(Select {
            pipeline: loader.pipeline(Kernel::Select, &[("COLS", width as f64)])?,
            x,
            out,
            width,
            bound: None,
        })
    }
}

impl Step for Select {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        let bindings = [
            ("extent", buffers.numbers),
            ("x", buffers.values(self.x)),
            ("results", buffers.values(self.out)),
            ("inputs", buffers.numbers),
        ];
        self.bound = Some(self.pipeline.bind(buffers.gpu, &bindings));
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let part = pass.part(Rows::Selected);
        if let (Some(bound), 1..) = (&self.bound, part.rows) {
            let workgroups = (self.width / 4).div_ceil(64) as u32;
            recording.dispatch(bound, part.extent, (workgroups, part.rows, 1));
        }
    }
}
