//! [`Pass`]: what a forward pass covers, and the numbers that its shaders see, written before it
//! starts.

use bitnet_kernels::program::{AttentionShape, Rows};
use bitnet_kernels::wgsl::SPAN;
use bitnet_kernels::{BackendError, Batch, CacheId, Program};
use wgpu::{Buffer, BufferUsages};

use crate::device::Gpu;

/// Bytes of an extent that a shader sees.
pub(crate) const EXTENT_BYTES: u64 = 16;

/// Slots lie as far apart as any device asks for.
const EXTENT_STRIDE: usize = 256;

const MAX_EXTENTS: usize = 4096;

/// Tokens that one dispatch takes a state through. Drivers end loops that are long: software Vulkan
/// after 65535 rounds, of which a token takes two for each element of a head.
const STATE_TOKENS: usize = 64;

/// Memory for the attention of a stretch of tokens before it is merged.
const SPANS_BYTES: usize = 64 << 20;

/// What one dispatch covers, as `shaders/shared/extent.wgsl` has it.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Extent {
    rows: u32,
    first_row: u32,
    start: u32,
    spans: u32,
}

/// Rows that one dispatch covers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Offset of the extent that tells the shader.
    pub(crate) extent: u32,
    pub(crate) rows: u32,
}

/// A run of tokens of one sequence.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) cache: CacheId,
    pub(crate) part: Part,
    /// Spans that its last token sees.
    pub(crate) spans: u32,
}

/// What a pass covers. Passes that are equal have the same dispatches.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Pass {
    pub(crate) tokens: u32,
    pub(crate) selected: u32,
    /// One per segment, for the write to the cache.
    pub(crate) segments: Vec<Stretch>,
    /// Candidates wanted for each selected row.
    pub(crate) best: u32,
    /// Segments, cut so that their spans fit the memory for them.
    pub(crate) attention: Vec<Stretch>,
    /// Segments, cut to what a dispatch takes a state through; none where no layer keeps one.
    pub(crate) states: Vec<Stretch>,
}

impl Pass {
    /// The rows of a kind of buffer.
    pub(crate) fn part(&self, rows: Rows) -> Part {
        match rows {
            Rows::Batch => Part {
                extent: 0,
                rows: self.tokens,
            },
            Rows::Selected => Part {
                extent: EXTENT_STRIDE as u32,
                rows: self.selected,
            },
            // No kernel over routed rows looks at an extent.
            Rows::Routed { experts } => Part {
                extent: 0,
                rows: self.tokens * experts as u32,
            },
        }
    }
}

/// The buffers that a pass writes.
pub(crate) struct PassBuffers {
    pub(crate) extents: Buffer,
    /// Attention over spans of keys before it is merged.
    pub(crate) spans: Buffer,
    scratch: Vec<u8>,
    tokens_per_spans: usize,
    has_state: bool,
}

impl PassBuffers {
    pub(crate) fn new(gpu: &Gpu, program: &Program) -> Result<PassBuffers, BackendError> {
        let of_a_span = |shape: &AttentionShape| shape.heads * (shape.head_dim + 2) * 4;
        let span_bytes = program.attention_shapes().map(of_a_span).max().unwrap_or(4);
        let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
        Ok(PassBuffers {
            extents: gpu.buffer("the numbers of a pass", MAX_EXTENTS * EXTENT_STRIDE, usage)?,
            spans: gpu.storage("partial attention", SPANS_BYTES.max(span_bytes))?,
            scratch: Vec::new(),
            tokens_per_spans: (SPANS_BYTES / span_bytes).max(1),
            has_state: program.has_state(),
        })
    }

    /// Writes the extents of a pass. `best` is how many candidates each selected row gives.
    pub(crate) fn prepare(
        &mut self,
        gpu: &Gpu,
        batch: &Batch<'_>,
        best: usize,
    ) -> Result<Pass, BackendError> {
        let mut pass = Pass {
            tokens: batch.tokens.len() as u32,
            selected: batch.selected.len() as u32,
            best: best as u32,
            ..Pass::default()
        };
        self.scratch.clear();
        self.push(Extent {
            rows: pass.tokens,
            first_row: 0,
            start: 0,
            spans: 0,
        });
        self.push(Extent {
            rows: pass.selected,
            first_row: 0,
            start: 0,
            spans: best as u32,
        });
        let mut row = 0;
        for segment in batch.segments.iter().filter(|segment| segment.len > 0) {
            let spans_of = |len: usize| (segment.start + len).div_ceil(SPAN).max(1);
            let extent = self.push(Extent {
                rows: segment.len as u32,
                first_row: row as u32,
                start: segment.start as u32,
                spans: 0,
            });
            let rows = segment.len as u32;
            pass.segments.push(Stretch {
                cache: segment.cache,
                part: Part { extent, rows },
                spans: 0,
            });
            let most_rows = (self.tokens_per_spans / spans_of(segment.len)).max(1);
            for first in (0..segment.len).step_by(most_rows) {
                let rows = most_rows.min(segment.len - first);
                let numbers = Extent {
                    rows: rows as u32,
                    first_row: (row + first) as u32,
                    start: (segment.start + first) as u32,
                    spans: spans_of(first + rows) as u32,
                };
                pass.attention.push(Stretch {
                    cache: segment.cache,
                    part: Part {
                        extent: self.push(numbers),
                        rows: numbers.rows,
                    },
                    spans: numbers.spans,
                });
            }
            let states = if self.has_state { segment.len } else { 0 };
            for first in (0..states).step_by(STATE_TOKENS) {
                let rows = STATE_TOKENS.min(segment.len - first);
                let numbers = Extent {
                    rows: rows as u32,
                    first_row: (row + first) as u32,
                    start: (segment.start + first) as u32,
                    spans: 0,
                };
                pass.states.push(Stretch {
                    cache: segment.cache,
                    part: Part {
                        extent: self.push(numbers),
                        rows: numbers.rows,
                    },
                    spans: 0,
                });
            }
            row += segment.len;
        }
        if self.scratch.len() > MAX_EXTENTS * EXTENT_STRIDE {
            return Err(BackendError::Batch(format!(
                "{} segments of {row} tokens are more than one pass takes; split the batch",
                batch.segments.len()
            )));
        }
        gpu.write(&self.extents, 0, &self.scratch);
        Ok(pass)
    }

    fn push(&mut self, extent: Extent) -> u32 {
        let at = self.scratch.len();
        self.scratch.extend_from_slice(bytemuck::bytes_of(&extent));
        self.scratch.resize(at + EXTENT_STRIDE, 0);
        at as u32
    }
}
