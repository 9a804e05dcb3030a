//! The causal convolution over the last rows of a sequence.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::program::{BufferId, WeightId};
use bitnet_kernels::wgsl::Kernel;
use bitnet_kernels::{BackendError, CacheId};
use wgpu::Buffer;

use crate::cache::Cache;
use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

pub(crate) struct Convolve {
    pipeline: Arc<Pipeline>,
    kernel: Arc<Buffer>,
    x: BufferId,
    layer: usize,
    out: BufferId,
    workgroups: u32,
    bound: HashMap<CacheId, Bound>,
}

impl Convolve {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        [x, out]: [BufferId; 2],
        kernel: WeightId,
        layer: usize,
    ) -> Result<Convolve, BackendError> {
        let desc = loader.program.weight(kernel);
        let channels = desc.rows;
        let constants = [("CHANNELS", channels as f64), ("COLUMNS", desc.cols as f64)];
        Ok(Convolve {
            pipeline: loader.pipeline(Kernel::Convolve, &constants)?,
            kernel: loader.vector(kernel)?,
            x,
            layer,
            out,
            workgroups: channels.div_ceil(64) as u32,
            bound: HashMap::new(),
        })
    }
}

impl Step for Convolve {
    fn bind(&mut self, _: &Buffers<'_>) {
        self.bound.clear();
    }

    fn bind_cache(&mut self, buffers: &Buffers<'_>, id: CacheId, cache: &Cache) {
        let bindings = [
            ("extent", buffers.numbers),
            ("x", buffers.values(self.x)),
            ("taps", &*self.kernel),
            ("state", cache.state(self.layer)),
            ("results", buffers.values(self.out)),
        ];
        let bound = self.pipeline.bind(buffers.gpu, &bindings);
        self.bound.insert(id, bound);
    }

    fn drop_cache(&mut self, id: CacheId) {
        self.bound.remove(&id);
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        for stretch in &pass.states {
            let bound = &self.bound[&stretch.cache];
            recording.dispatch(bound, stretch.part.extent, (self.workgroups, 1, 1));
        }
    }
}
