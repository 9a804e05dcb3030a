//! Rotation of queries and keys, and the write to the cache.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::program::{BufferId, LayerCache, Pairing, RotationId};
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
    rotation: Option<RotationId>,
    layer: usize,
    /// Workgroups that a token takes.
    workgroups: u32,
    bound: HashMap<CacheId, Bound>,
}

impl RopeStore {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        [q, k, v]: [BufferId; 3],
        rotation: Option<RotationId>,
        layer: usize,
    ) -> Result<RopeStore, BackendError> {
        let shape = Shape::new(loader, q, rotation, layer)?;
        let kernel = Kernel::RopeStore(loader.program.cache_type, shape.pairing);
        let threads = (shape.heads + 2 * shape.kv_heads) * (shape.head_dim / 4);
        Ok(RopeStore {
            pipeline: loader.pipeline(kernel, &shape.constants())?,
            q,
            k,
            v,
            rotation,
            layer,
            workgroups: threads.div_ceil(64) as u32,
            bound: HashMap::new(),
        })
    }
}

/// What is rotated and stored of a token.
pub(super) struct Shape {
    pub(super) pairing: Pairing,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Elements of a head that are rotated.
    dims: usize,
}

impl Shape {
    pub(super) fn new(
        loader: &Loader<'_>,
        q: BufferId,
        rotation: Option<RotationId>,
        layer: usize,
    ) -> Result<Shape, BackendError> {
        let program = loader.program;
        let LayerCache::KeysAndValues { kv_heads, head_dim } = program.caches[layer] else {
            unreachable!("the program was validated");
        };
        // Where nothing is rotated, nothing is paired.
        let rope = rotation.map(|id| program.rotation(id));
        let (dims, pairing) = rope.map_or((0, Pairing::Adjacent), |rope| (rope.dims, rope.pairing));
        check_dims(loader, dims)?;
        Ok(Shape {
            pairing,
            heads: program.buffer(q).width / head_dim,
            kv_heads,
            head_dim,
            dims,
        })
    }

    /// As pipeline constants.
    pub(super) fn constants(&self) -> [(&'static str, f64); 4] {
        [
            ("HEADS", self.heads as f64),
            ("KV_HEADS", self.kv_heads as f64),
            ("HEAD_DIM", self.head_dim as f64),
            ("DIMS", self.dims as f64),
        ]
    }
}

/// Refuses a rotation that shaders do not know.
pub(super) fn check_dims(loader: &Loader<'_>, dims: usize) -> Result<(), BackendError> {
    if dims.is_multiple_of(4) {
        return Ok(());
    }
    Err(loader.gpu.unsupported(format!(
        "rotation of {dims} elements of a head: multiples of 4 are known"
    )))
}

impl Step for RopeStore {
    fn bind(&mut self, _: &Buffers<'_>) {
        self.bound.clear();
    }

    fn bind_cache(&mut self, buffers: &Buffers<'_>, id: CacheId, cache: &Cache) {
        let layer = cache.keys_and_values(self.layer);
        let bindings = [
            ("extent", buffers.numbers),
            ("results", buffers.values(self.q)),
            ("k", buffers.values(self.k)),
            ("v", buffers.values(self.v)),
            (
                "rotations",
                buffers.rotations.table(self.rotation, cache.positions),
            ),
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
