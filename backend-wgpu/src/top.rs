//! The best few logits of each selected row, found on the device.

use std::sync::Arc;

use bitnet_kernels::wgsl::Kernel;
use bitnet_kernels::{BackendError, Candidate};
use wgpu::{BindGroup, Buffer};

use crate::device::Gpu;
use crate::pipeline::{Pipeline, Pipelines};

/// More candidates than this are found on this side.
pub(crate) const MAX_TOP: usize = 64;

/// Logits that one workgroup looks at, as `shaders/top_chunk.wgsl` has it.
const CHUNK: usize = 1024;

pub(crate) struct Top {
    pub(crate) chunk: (Arc<Pipeline>, BindGroup),
    pub(crate) merge: (Arc<Pipeline>, BindGroup),
    pub(crate) chunks: u32,
    /// Ids and logits.
    pub(crate) best: Buffer,
}

impl Top {
    pub(crate) fn new(
        gpu: &Gpu,
        pipelines: &mut Pipelines,
        vocabulary: usize,
        rows: usize,
        work: &Buffer,
        logits: &Buffer,
    ) -> Result<Top, BackendError> {
        let chunks = vocabulary.div_ceil(CHUNK);
        let lists = gpu.storage("candidates", rows * chunks * MAX_TOP * 8)?;
        let best = gpu.storage("candidates", rows * MAX_TOP * 8)?;
        let constants = [("VOCABULARY", vocabulary as f64)];
        let chunk = pipelines.get(gpu, Kernel::TopChunk, &constants)?;
        let merge = pipelines.get(gpu, Kernel::TopMerge, &constants)?;
        let common = [("work", work), ("logits", logits), ("chunks", &lists)];
        let bind_chunk = chunk.bind(gpu, &common);
        let bind_merge = merge.bind(gpu, &[common.as_slice(), &[("top", &best)]].concat());
        Ok(Top {
            chunk: (chunk, bind_chunk),
            merge: (merge, bind_merge),
            chunks: chunks as u32,
            best,
        })
    }
}

/// Candidates as the device writes them.
pub(crate) fn decode(bytes: &[u8], out: &mut Vec<Candidate>) {
    out.extend(bytes.as_chunks::<8>().0.iter().map(|pair| {
        let word = |at: usize| [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
        Candidate::new(u32::from_le_bytes(word(0)), f32::from_le_bytes(word(4)))
    }));
}
