//! [`Pass`]: what a forward pass covers, and the numbers that its shaders see, written before it
//! starts.

use bitnet_kernels::program::{AttentionShape, Rows};
use bitnet_kernels::wgsl::SPAN;
use bitnet_kernels::{BackendError, Batch, CacheId, Program};
use wgpu::{Buffer, BufferUsages};

use crate::device::Gpu;

/// Bytes of an extent that a shader sees.
pub(crate) const EXTENT_BYTES: u64 = 32;

/// Slots lie as far apart as any device asks for.
const EXTENT_STRIDE: usize = 256;

const MAX_EXTENTS: usize = 4096;

/// Up to so many rows of activations are few: products go row by row, and operations are fused.
/// Above, products run over tiles. Either way gives the same bits.
pub(crate) const FEW_ROWS: u32 = 19;

/// Tokens that one dispatch takes a state through. Drivers end loops that are long: software Vulkan
/// after 65535 rounds, of which a token takes two for each element of a head.
const STATE_TOKENS: usize = 64;

/// Memory for the attention of a stretch of tokens before it is merged.
const SPANS_BYTES: usize = 64 << 20;

/// What one dispatch covers, as `shaders/shared/extent.wgsl` has it.
#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Extent {
    rows: u32,
    first_row: u32,
    start: u32,
    spans: u32,
    inputs: u32,
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
    /// Offset of the extent of its tokens. Behind it comes that of the selected rows.
    extents: u32,
    /// Offset of the ids of its tokens among the numbers.
    pub(crate) ids: u64,
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
                extent: self.extents,
                rows: self.tokens,
            },
            Rows::Selected => Part {
                extent: self.extents + EXTENT_STRIDE as u32,
                rows: self.selected,
            },
            // Of the extent, kernels over routed rows look at the first row alone, which is 0.
            Rows::Routed { experts } => Part {
                extent: self.extents,
                rows: self.tokens * experts as u32,
            },
        }
    }
}

/// The buffers that a pass writes.
pub(crate) struct PassBuffers {
    /// Extents and, behind them, the ids of tokens and the selected rows: one write for all.
    pub(crate) numbers: Buffer,
    /// Attention over spans of keys before it is merged.
    pub(crate) spans: Buffer,
    scratch: Vec<u8>,
    tokens_per_spans: usize,
    has_state: bool,
}

impl PassBuffers {
    /// For passes of up to so many tokens and selected rows together.
    pub(crate) fn new(
        gpu: &Gpu,
        program: &Program,
        inputs: usize,
    ) -> Result<PassBuffers, BackendError> {
        let of_a_span = |shape: &AttentionShape| shape.heads * (shape.head_dim + 2) * 4;
        let span_bytes = program.attention_shapes().map(of_a_span).max().unwrap_or(4);
        Ok(PassBuffers {
            numbers: numbers(gpu, inputs)?,
            spans: gpu.storage("partial attention", SPANS_BYTES.max(span_bytes))?,
            scratch: Vec::new(),
            tokens_per_spans: (SPANS_BYTES / span_bytes).max(1),
            has_state: program.has_state(),
        })
    }

    /// Makes room for so many tokens and selected rows together.
    pub(crate) fn reserve(&mut self, gpu: &Gpu, inputs: usize) -> Result<(), BackendError> {
        self.numbers = numbers(gpu, inputs)?;
        Ok(())
    }

    /// Writes what the shaders of passes that run one after another see of them. `best` is how many
    /// candidates each selected row gives.
    pub(crate) fn prepare(
        &mut self,
        gpu: &Gpu,
        batches: &[Batch<'_>],
        best: usize,
    ) -> Result<Vec<Pass>, BackendError> {
        self.scratch.clear();
        let passes = batches.iter().map(|batch| self.push_extents(batch, best));
        let mut passes: Vec<Pass> = passes.collect();
        if self.scratch.len() > MAX_EXTENTS * EXTENT_STRIDE {
            let segments: usize = batches.iter().map(|batch| batch.segments.len()).sum();
            let tokens: usize = batches.iter().map(|batch| batch.tokens.len()).sum();
            return Err(BackendError::Batch(format!(
                "{segments} segments of {tokens} tokens are more than one pass takes; split the \
                 batch"
            )));
        }
        let mut end = self.scratch.len();
        for (pass, batch) in passes.iter_mut().zip(batches).rev() {
            self.push_inputs(pass, end, batch);
            end = pass.extents as usize;
        }
        gpu.write(&self.numbers, 0, &self.scratch);
        Ok(passes)
    }

    /// Adds the extents of a pass.
    fn push_extents(&mut self, batch: &Batch<'_>, best: usize) -> Pass {
        let mut pass = Pass {
            extents: self.scratch.len() as u32,
            tokens: batch.tokens.len() as u32,
            selected: batch.selected.len() as u32,
            best: best as u32,
            ..Pass::default()
        };
        self.push(Extent {
            rows: pass.tokens,
            ..Extent::default()
        });
        self.push(Extent {
            rows: pass.selected,
            spans: best as u32,
            ..Extent::default()
        });
        let mut row = 0;
        for segment in batch.segments.iter().filter(|segment| segment.len > 0) {
            let spans_of = |len: usize| (segment.start + len).div_ceil(SPAN).max(1);
            let extent = self.push(Extent {
                rows: segment.len as u32,
                first_row: row as u32,
                start: segment.start as u32,
                ..Extent::default()
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
                    inputs: 0,
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
                    ..Extent::default()
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
        pass
    }

    /// Adds the ids of the tokens and the selected rows of a pass, whose extents lie before `end`,
    /// and tells these where they are.
    fn push_inputs(&mut self, pass: &mut Pass, end: usize, batch: &Batch<'_>) {
        pass.ids = self.scratch.len() as u64;
        let at = (self.scratch.len() / 4) as u32;
        let selected = at + pass.tokens;
        let own = &mut self.scratch[pass.extents as usize..end];
        for (index, extent) in own.chunks_exact_mut(EXTENT_STRIDE).enumerate() {
            let inputs = if index == 1 { selected } else { at };
            let field = std::mem::offset_of!(Extent, inputs);
            extent[field..field + 4].copy_from_slice(&inputs.to_le_bytes());
        }
        for ids in [batch.tokens, batch.selected] {
            self.scratch.extend_from_slice(bytemuck::cast_slice(ids));
        }
    }

    fn push(&mut self, extent: Extent) -> u32 {
        let at = self.scratch.len();
        self.scratch.extend_from_slice(bytemuck::bytes_of(&extent));
        self.scratch.resize(at + EXTENT_STRIDE, 0);
        at as u32
    }
}

fn numbers(gpu: &Gpu, inputs: usize) -> Result<Buffer, BackendError> {
    let usage = BufferUsages::UNIFORM | BufferUsages::STORAGE | BufferUsages::COPY_DST;
    let bytes = MAX_EXTENTS * EXTENT_STRIDE + inputs * 4;
    gpu.buffer("the numbers of a pass", bytes, usage)
}
