//! [`Step`]: an operation of a program on the device.

use bitnet_kernels::CacheId;
use bitnet_kernels::program::BufferId;
use wgpu::Buffer;

use crate::activations::Activations;
use crate::cache::Cache;
use crate::device::Gpu;
use crate::pass::Pass;
use crate::recording::Recording;
use crate::rotations::Rotations;

/// What steps bind to, as long as no buffer has to grow.
pub(crate) struct Buffers<'a> {
    pub(crate) gpu: &'a Gpu,
    /// By [`BufferId`].
    pub(crate) activations: &'a [Activations],
    /// What a pass covers, and behind that the ids of its tokens and its selected rows.
    pub(crate) numbers: &'a Buffer,
    /// Attention over spans of keys before it is merged.
    pub(crate) spans: &'a Buffer,
    pub(crate) rotations: &'a Rotations,
}

impl<'a> Buffers<'a> {
    pub(crate) fn activations(&self, id: BufferId) -> &'a Activations {
        &self.activations[id.0 as usize]
    }

    pub(crate) fn values(&self, id: BufferId) -> &'a Buffer {
        &self.activations(id).values
    }
}

/// An operation with its pipelines, its weights and all that it binds.
pub(crate) trait Step: Send {
    /// Binds anew: buffers have grown. What was bound before, caches too, is no longer used.
    fn bind(&mut self, buffers: &Buffers<'_>);

    /// Binds the cache of a sequence, where the operation reads or writes it.
    fn bind_cache(&mut self, _: &Buffers<'_>, _id: CacheId, _cache: &Cache) {}

    /// Forgets a cache that it was bound to.
    fn drop_cache(&mut self, _id: CacheId) {}

    /// Records its dispatches for a pass.
    fn record(&self, pass: &Pass, recording: &mut Recording<'_>);
}
