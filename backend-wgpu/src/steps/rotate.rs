//! Rotation of heads in place.

use std::collections::HashMap;
use std::sync::Arc;

use bitnet_kernels::program::{BufferId, RotationId};
use bitnet_kernels::wgsl::Kernel;
use bitnet_kernels::{BackendError, CacheId};

use super::rope_store::check_dims;
use crate::cache::Cache;
use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::{Buffers, Step};

pub(crate) struct Rotate {
    pipeline: Arc<Pipeline>,
    x: BufferId,
    rotation: RotationId,
    /// Workgroups that a token takes.
    workgroups: u32,
    bound: HashMap<CacheId, Bound>,
}

impl Rotate {
    pub(crate) fn load(
        loader: &mut Loader<'_>,
        x: BufferId,
        head_dim: usize,
        rotation: RotationId,
    ) -> Result<Rotate, BackendError> {
        let program = loader.program;
        let rope = program.rotation(rotation);
        check_dims(loader, rope.dims)?;
        let heads = program.buffer(x).width / head_dim;
        let constants = [
            ("HEADS", heads as f64),
            ("HEAD_DIM", head_dim as f64),
            ("DIMS", rope.dims as f64),
        ];
        Ok(Rotate {
            pipeline: loader.pipeline(Kernel::Rotate(rope.pairing), &constants)?,
            x,
            rotation,
            workgroups: (heads * (rope.dims / 2)).div_ceil(64) as u32,
            bound: HashMap::new(),
        })
    }
}

impl Step for Rotate {
    fn bind(&mut self, _: &Buffers<'_>) {
        self.bound.clear();
    }

    fn bind_cache(&mut self, buffers: &Buffers<'_>, id: CacheId, cache: &Cache) {
        let table = buffers
            .rotations
            .table(Some(self.rotation), cache.positions);
        let bindings = [
            ("extent", buffers.numbers),
            ("x", buffers.values(self.x)),
            ("rotations", table),
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
