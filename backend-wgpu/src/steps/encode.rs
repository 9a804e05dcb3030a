//! Rows in an encoding, after a norm or as they are.

use std::sync::Arc;

use bitnet_kernels::BackendError;
use bitnet_kernels::program::{BufferId, Rows, WeightId};
use bitnet_kernels::wgsl::{Encoder, Kernel};
use wgpu::Buffer;

use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

/// The gain of a norm, and what it adds to the mean square.
pub(crate) type Norm = (WeightId, f32);

pub(crate) struct Encode {
    pipeline: Arc<Pipeline>,
    gain: Option<Arc<Buffer>>,
    x: BufferId,
    out: BufferId,
    rows: Rows,
    bound: Option<Bound>,
}

impl Encode {
    /// With a norm first or without, of the `selected` rows of `x` or all.
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        (x, selected): (BufferId, bool),
        norm: Option<Norm>,
        out: BufferId,
    ) -> Result<Encode, BackendError> {
        let desc = loader.program.buffer(out);
        let encoder = Encoder::new(selected, norm.is_some(), desc.width);
        let kernel = Kernel::Encode(encoder, desc.encoding);
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
            ("extent", buffers.numbers),
            ("inputs", buffers.numbers),
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
