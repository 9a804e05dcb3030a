//! The gated delta rule.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::program::{BufferId, DeltaShape, WeightId};
use bitnet_kernels::wgsl::{Kernel, MAX_DELTA_SIZE};
use bitnet_kernels::{BackendError, CacheId};
use wgpu::Buffer;

use crate::cache::Cache;
use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

/// What a delta rule reads.
pub(crate) struct Inputs {
    pub(crate) x: BufferId,
    pub(crate) alpha: BufferId,
    pub(crate) beta: BufferId,
    pub(crate) bias: WeightId,
    pub(crate) rate: WeightId,
}

pub(crate) struct DeltaRule {
    pipeline: Arc<Pipeline>,
    inputs: Inputs,
    bias: Arc<Buffer>,
    rate: Arc<Buffer>,
    layer: usize,
    out: BufferId,
    heads: u32,
    bound: HashMap<CacheId, Bound>,
}

impl DeltaRule {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        inputs: Inputs,
        shape: DeltaShape,
        layer: usize,
        out: BufferId,
    ) -> Result<DeltaRule, BackendError> {
        if shape.size > MAX_DELTA_SIZE {
            return Err(loader.gpu.unsupported(format!(
                "a delta rule with heads of {} elements: up to {MAX_DELTA_SIZE} are known",
                shape.size
            )));
        }
        let constants = [
            ("HEADS", shape.heads as f64),
            ("KEY_HEADS", shape.key_heads as f64),
            ("SIZE", shape.size as f64),
            ("EPS", f64::from(shape.eps)),
        ];
        Ok(DeltaRule {
            pipeline: loader.pipeline(Kernel::DeltaRule, &constants)?,
            bias: loader.vector(inputs.bias)?,
            rate: loader.vector(inputs.rate)?,
            inputs,
            layer,
            out,
            heads: shape.heads as u32,
            bound: HashMap::new(),
        })
    }
}

impl Step for DeltaRule {
    fn bind(&mut self, _: &Buffers<'_>) {
        self.bound.clear();
    }

    fn bind_cache(&mut self, buffers: &Buffers<'_>, id: CacheId, cache: &Cache) {
        let bindings = [
            ("extent", buffers.numbers),
            ("x", buffers.values(self.inputs.x)),
            ("alpha", buffers.values(self.inputs.alpha)),
            ("beta", buffers.values(self.inputs.beta)),
            ("bias", &*self.bias),
            ("rate", &*self.rate),
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
            recording.dispatch(bound, stretch.part.extent, (self.heads, 1, 1));
        }
    }
}
