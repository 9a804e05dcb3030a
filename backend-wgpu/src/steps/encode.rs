//! Rows in an encoding, after a norm or as they are.

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

pub(crate) struct Encode {
    pipeline: Arc<Pipeline>,
    gain: Option<Arc<Buffer>>,
    x: BufferId,
    out: BufferId,
    rows: Rows,
    bound: Option<Bound>,
}

impl Encode {
    /// `norm` is the gain of a norm that comes first, and what it adds to the mean square.
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        x: BufferId,
        norm: Option<(WeightId, f32)>,
        out: BufferId,
    ) -> Result<Encode, BackendError> {
        let desc = loader.program.buffer(out);
        let kernel = Kernel::Encode {
            norm: norm.is_some(),
            encoding: desc.encoding,
            vectors: (desc.width / 4).div_ceil(loader.gpu.target.threads as usize) as u32,
        };
        let mut constants = vec![("COLS", desc.width as f64)];
        constants.extend(norm.map(|(_, eps)| ("EPS", f64::from(eps))));
        Ok(Encode {
            pipeline: loader.pipeline(kernel, &constants)?,
            gain: norm.map(|(gain, _)| loader.vector(gain)).transpose()?,
            x,
            out,
            rows: desc.rows,
            bound: None,
        })
    }
}

impl Step for Encode {
    fn bind(&mut self, buffers: &Buffers<'_>) {
        let out = buffers.activations(self.out);
        let mut bindings = vec![
            ("extent", buffers.extents),
            ("x", buffers.values(self.x)),
            ("results", &out.values),
        ];
        bindings.extend(out.scales.as_ref().map(|scales| ("scales", scales)));
        bindings.extend(self.gain.as_deref().map(|gain| ("gain", gain)));
        self.bound = Some(self.pipeline.bind(buffers.gpu, &bindings));
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let part = pass.part(self.rows);
        if let (Some(bound), 1..) = (&self.bound, part.rows) {
            recording.dispatch(bound, part.extent, (part.rows, 1, 1));
        }
    }
}
