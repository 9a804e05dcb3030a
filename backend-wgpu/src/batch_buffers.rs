//! [`BatchBuffers`]: the buffers whose size follows the batch.

use bitnet_kernels::BackendError;
use bitnet_kernels::program::{Program, Rows};
use wgpu::{Buffer, BufferUsages};

use crate::activations::Activations;
use crate::device::Gpu;

/// Buffers for passes of up to so many rows; made anew when a batch has more.
pub(crate) struct BatchBuffers {
    pub(crate) rows: usize,
    pub(crate) selected_rows: usize,
    /// By `BufferId`.
    pub(crate) activations: Vec<Activations>,
    /// Where the host reads what a pass gives back.
    pub(crate) answer: Buffer,
}

impl BatchBuffers {
    /// `candidates` is how many the device finds at most for a selected row.
    pub(crate) fn new(
        gpu: &Gpu,
        program: &Program,
        (rows, selected_rows): (usize, usize),
        candidates: usize,
    ) -> Result<BatchBuffers, BackendError> {
        let activations = program.buffers.iter().map(|desc| {
            let rows = match desc.rows {
                Rows::Batch => rows,
                Rows::Selected => selected_rows,
                Rows::Routed { experts } => rows * experts,
            };
            Activations::new(gpu, desc, rows)
        });
        let answer = selected_rows * program.vocabulary.max(2 * candidates) * 4;
        let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
        Ok(BatchBuffers {
            rows,
            selected_rows,
            activations: activations.collect::<Result<_, _>>()?,
            answer: gpu.buffer("the answer", answer, usage)?,
        })
    }
}
