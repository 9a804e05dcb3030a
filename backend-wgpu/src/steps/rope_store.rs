//! Rotation of queries and keys, and the write to the cache.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::program::BufferId;
use bitnet_kernels::wgsl::Kernel;
use bitnet_kernels::{BackendError, CacheId};

use crate::cache::Cache;
use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

pub(crate) struct RopeStore {
    pipeline: Arc<Pipeline>,
    q: BufferId,
    k: BufferId,
    v: BufferId,
    layer: usize,
    /// Workgroups that a token takes.
    workgroups: u32,
    bound: HashMap<CacheId, Bound>,
}

impl RopeStore {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        [q, k, v]: [BufferId; 3],
        layer: usize,
    ) -> Result<RopeStore, BackendError> {
        let program = loader.program;
        let shape = &program.attention;
        if !shape.rope.dims.is_multiple_of(4) {
            return Err(loader.gpu.unsupported(format!(
                "rotation of {} elements of a head: multiples of 4 are known",
                shape.rope.dims
            )));
        }
        let kernel = Kernel::RopeStore(program.cache_type, shape.rope.pairing);
        let constants = [
            ("HEADS", shape.heads as f64),
            ("KV_HEADS", shape.kv_heads as f64),
            ("HEAD_DIM", shape.head_dim as f64),
            ("DIMS", shape.rope.dims as f64),
        ];
        let threads = (shape.heads + 2 * shape.kv_heads) * (shape.head_dim / 4);
        Ok(RopeStore {
            pipeline: loader.pipeline(kernel, &constants)?,
            q,
            k,
            v,
            layer,
            workgroups: threads.div_ceil(64) as u32,
            bound: HashMap::new(),
        })
    }
}

impl Step for RopeStore {
    fn bind(&mut self, _: &Buffers<'_>) {
        self.bound.clear();
    }

    fn bind_cache(&mut self, buffers: &Buffers<'_>, id: CacheId, cache: &Cache) {
        let layer = &cache.layers[self.layer];
        let bindings = [
            ("extent", buffers.extents),
            ("q", buffers.values(self.q)),
            ("k", buffers.values(self.k)),
            ("v", buffers.values(self.v)),
            ("rotations", buffers.rotations),
            ("keys", &layer.keys),
            ("values", &layer.values),
        ];
        let bound = self.pipeline.bind(buffers.gpu, &bindings);
        self.bound.insert(id, bound);
    }

    fn drop_cache(&mut self, id: CacheId) {
        self.bound.remove(&id);
    }

    fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        for stretch in &pass.segments {
            let bound = &self.bound[&stretch.cache];
            let part = stretch.part;
            recording.dispatch(bound, part.extent, (self.workgroups, part.rows, 1));
        }
    }
}
