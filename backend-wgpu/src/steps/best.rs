//! The best few logits of each selected row, found on the device after the operations of a pass.

use std::sync::Arc;

use bitnet_kernels::program::{BufferId, Rows};
use bitnet_kernels::wgsl::Kernel;
use bitnet_kernels::{BackendError, Candidate};
use wgpu::Buffer;

use crate::loader::Loader;
use crate::pass::Pass;
use crate::pipeline::{Bound, Pipeline};
use crate::recording::Recording;
use crate::step::Buffers;

/// More candidates than this are found by the host.
pub(crate) const MAX_BEST: usize = 64;

/// Logits that one workgroup looks at, as `shaders/top_chunk.wgsl` has it.
const CHUNK: usize = 1024;

/// Bytes of a candidate on the device: its id and its logit.
const CANDIDATE_BYTES: usize = 8;

pub(crate) struct Best {
    chunk: Arc<Pipeline>,
    merge: Arc<Pipeline>,
    logits: BufferId,
    chunks: usize,
    bound: Option<BoundBest>,
}

struct BoundBest {
    chunk: Bound,
    merge: Bound,
    candidates: Buffer,
}

impl Best {
    /// The search among the `logits` of a vocabulary.
    pub(crate) fn load(loader: &mut Loader<'_>, logits: BufferId) -> Result<Best, BackendError> {
        let vocabulary = loader.program.vocabulary;
        let constants = [("VOCABULARY", vocabulary as f64)];
        Ok(Best {
            chunk: loader.pipeline(Kernel::TopChunk, &constants)?,
            merge: loader.pipeline(Kernel::TopMerge, &constants)?,
            logits,
            chunks: vocabulary.div_ceil(CHUNK),
            bound: None,
        })
    }

    /// Binds anew: buffers have grown to so many selected rows.
    pub(crate) fn bind(
        &mut self,
        buffers: &Buffers<'_>,
        selected_rows: usize,
    ) -> Result<(), BackendError> {
        let gpu = buffers.gpu;
        let row = MAX_BEST * CANDIDATE_BYTES;
        let chunks = gpu.storage("candidates of chunks", selected_rows * self.chunks * row)?;
        let candidates = gpu.storage("candidates", selected_rows * row)?;
        let bindings = [
            ("extent", buffers.numbers),
            ("logits", buffers.values(self.logits)),
            ("chunks", &chunks),
            ("top", &candidates),
        ];
        self.bound = Some(BoundBest {
            chunk: self.chunk.bind(gpu, &bindings),
            merge: self.merge.bind(gpu, &bindings),
            candidates,
        });
        Ok(())
    }

    /// Records the search, for a pass that wants candidates.
    pub(crate) fn record(&self, pass: &Pass, recording: &mut Recording<'_>) {
        let part = pass.part(Rows::Selected);
        if let (Some(bound), 1..) = (&self.bound, part.rows) {
            recording.dispatch(
                &bound.chunk,
                part.extent,
                (self.chunks as u32, part.rows, 1),
            );
            recording.dispatch(&bound.merge, part.extent, (part.rows, 1, 1));
        }
    }

    /// Where a pass that wants `best` candidates of each of `rows` leaves them, and their bytes.
    pub(crate) fn answer(&self, rows: usize, best: usize) -> Option<(&Buffer, usize)> {
        let bound = self.bound.as_ref()?;
        Some((&bound.candidates, rows * best * CANDIDATE_BYTES))
    }
}

/// Appends candidates as the device writes them.
pub(crate) fn decode(bytes: &[u8], out: &mut Vec<Candidate>) {
    let candidates = bytes.as_chunks::<CANDIDATE_BYTES>().0;
    out.extend(candidates.iter().map(|[a, b, c, d, logit @ ..]| {
        Candidate::new(
            u32::from_le_bytes([*a, *b, *c, *d]),
            f32::from_le_bytes(*logit),
        )
    }));
}
