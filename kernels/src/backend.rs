//! What a device must offer to run a [`Program`].
//!
//! A backend is made from a program and its weights by its own crate, then used through this trait.
//! It owns all its buffers and caches; nothing leaves it but what is asked for.

use std::ops::Range;
use std::sync::Arc;

use bitnet_gguf::Gguf;

use crate::format::Encoding;
use crate::program::{BufferId, Program, Rows};
use crate::recorder::KernelRecorder;
use crate::report::{Limits, Profile, Screening};

/// Names a cache of one sequence, made by [`Backend::create_cache`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheId(pub u32);

/// A run of tokens of one sequence: they take positions `start .. start + len` of its cache. What
/// the cache holds before `start` is used, what it held from there on is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The sequence's cache.
    pub cache: CacheId,
    /// Position of the first token.
    pub start: usize,
    /// Number of tokens.
    pub len: usize,
}

/// Tokens to run in one forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Token ids, segment after segment.
    pub tokens: &'a [u32],
    /// Which sequence and positions they belong to; lengths add up to `tokens.len()`. A cache
    /// appears once.
    pub segments: &'a [Segment],
    /// Indices into `tokens` whose logits are wanted, ascending.
    pub selected: &'a [u32],
}

/// What a forward pass gives back for each selected token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: the pass only fills caches.
    Nothing,
    /// All logits.
    Logits,
    /// The `k` largest logits with their ids.
    Top(usize),
}

/// A token id with its logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Token id.
    pub id: u32,
    /// Its logit.
    pub logit: f32,
}

/// The results of a forward pass. Reused from call to call, so that a decode step allocates
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// After [`Want::Logits`]: `[selected, vocabulary]`.
    pub logits: Vec<f32>,
    /// After [`Want::Top`]: `[selected, k]`, largest first, the lower id first among equals. `k`
    /// is at most the vocabulary.
    pub top: Vec<Candidate>,
}

/// Where the bytes of weights come from: one region of memory with named parts.
pub trait WeightSource: Send + Sync {
    /// The region. It does not move or change while the source lives.
    fn bytes(&self) -> &[u8];

    /// The part of the region that a tensor takes, or `None` when there is no such tensor.
    fn find(&self, name: &str) -> Option<Range<usize>>;

    /// Copies the bytes from `start` of the region on: for a few of a part that is seldom read,
    /// without bringing it into memory where the source can.
    fn copy(&self, start: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.bytes()[start..start + into.len()]);
    }

    /// Tells that a part will seldom be read from now on, so that the memory it occupies may be
    /// used otherwise. It stays readable.
    fn release(&self, _part: Range<usize>) {}
}

impl WeightSource for Gguf {
    fn bytes(&self) -> &[u8] {
        Gguf::bytes(self)
    }

    fn find(&self, name: &str) -> Option<Range<usize>> {
        self.tensor(name)?.range().ok()
    }

    fn copy(&self, start: usize, into: &mut [u8]) {
        if Gguf::copy(self, start, into).is_err() {
            into.copy_from_slice(&self.bytes()[start..start + into.len()]);
        }
    }

    fn release(&self, part: Range<usize>) {
        // Only advice: a system that does not take it keeps the memory.
        let _ = self.advise_dont_need(part);
    }
}

/// Weights shared by everyone who reads them.
pub type SharedWeights = Arc<dyn WeightSource>;

/// What can go wrong on a device.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A tensor of the program is not in the source, or has other bytes than its shape and format
    /// ask for.
    #[error("tensor {name}: {problem}")]
    Weight {
        /// The tensor.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Memory could not be had.
    #[error("out of memory on {device}: {what} needs {need} bytes{}", have.map(|have| format!(", {have} are available")).unwrap_or_default())]
    OutOfMemory {
        /// The device.
        device: String,
        /// What the memory was for.
        what: String,
        /// Bytes asked for.
        need: u64,
        /// Bytes to be had, where known.
        have: Option<u64>,
    },
    /// A batch that does not fit the program, the caches or itself.
    #[error("invalid batch: {0}")]
    Batch(String),
    /// No kernel of this device runs an operation of the program.
    #[error("{device} cannot run {what}")]
    Unsupported {
        /// The device.
        device: String,
        /// The operation and format.
        what: String,
    },
    /// The device failed.
    #[error("{device} failed: {problem}")]
    Device {
        /// The device.
        device: String,
        /// What it said, and what to do.
        problem: String,
    },
}

/// Runs a program on a device.
///
/// Buffers hold the values of the latest pass until the next one; [`Backend::read`] and
/// [`Backend::write`] reach them for debugging and for parity measurements, by way of
/// [`Backend::run`], which stops where it is told.
pub trait Backend: Send {
    /// The device in words: `cpu avx2, 2 threads`.
    fn device(&self) -> String;

    /// The program it was made for.
    fn program(&self) -> &Program;

    /// Makes an empty cache for one sequence of up to `positions` tokens.
    fn create_cache(&mut self, positions: usize) -> Result<CacheId, BackendError>;

    /// Gives a cache's memory back.
    fn drop_cache(&mut self, cache: CacheId);

    /// Runs the whole program for `batch` and fills `out` with what is wanted.
    fn forward(
        &mut self,
        batch: &Batch<'_>,
        want: Want,
        out: &mut Output,
    ) -> Result<(), BackendError>;

    /// Runs only the operations `ops` (indices into the program) for `batch`, on what the buffers
    /// hold.
    fn run(&mut self, batch: &Batch<'_>, ops: Range<usize>) -> Result<(), BackendError>;

    /// Reads the first `rows` rows of a buffer, decoded to f32: `[rows, width]`.
    fn read(&mut self, buffer: BufferId, rows: usize) -> Result<Vec<f32>, BackendError>;

    /// Overwrites the first rows of an f32 buffer with `values`, `[rows, width]`.
    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), BackendError>;

    /// Reads the cached keys and values of a layer for positions `0 .. positions`:
    /// each `[positions, kv_heads, head_dim]`, decoded to f32.
    fn read_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        positions: usize,
    ) -> Result<(Vec<f32>, Vec<f32>), BackendError>;

    /// Overwrites cached keys and values of a layer from position 0 on, shaped as in
    /// [`Backend::read_cache`].
    fn write_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        keys: &[f32],
        values: &[f32],
    ) -> Result<(), BackendError>;

    /// What searching the output head through a screen cost and saved; `None` if this backend has
    /// none.
    fn screening(&self) -> Option<Screening> {
        None
    }

    /// Measures what the device can do at most; `None` where nothing is measured. Takes well below
    /// a second.
    fn limits(&mut self) -> Option<Limits> {
        None
    }

    /// Starts to note where the time goes, from nothing, or stops. Whether it can be told.
    fn set_profiling(&mut self, _on: bool) -> bool {
        false
    }

    /// Where the time went since [`Backend::set_profiling`].
    fn profile(&self) -> Option<&Profile> {
        None
    }

    /// Which kernels ran since it was last cleared.
    fn recorder(&mut self) -> &mut KernelRecorder;
}

/// Gives `to` every f32 buffer of `from`, as far as the batch fills it. What is encoded each makes
/// for itself.
pub(crate) fn copy_buffers(
    from: &mut dyn Backend,
    to: &mut dyn Backend,
    batch: &Batch<'_>,
) -> Result<(), BackendError> {
    for id in 0..from.program().buffers.len() as u32 {
        let id = BufferId(id);
        let desc = from.program().buffer(id);
        let rows = batch.rows(desc.rows);
        if desc.encoding == Encoding::F32 && rows > 0 {
            let values = from.read(id, rows)?;
            to.write(id, &values)?;
        }
    }
    Ok(())
}

impl Batch<'_> {
    /// Rows that a buffer has in this batch.
    pub fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Batch => self.tokens.len(),
            Rows::Selected => self.selected.len(),
        }
    }

    /// Checks the batch against itself and a program's vocabulary.
    pub fn validate(&self, program: &Program) -> Result<(), BackendError> {
        let wrong = |text: String| Err(BackendError::Batch(text));
        let total: usize = self.segments.iter().map(|segment| segment.len).sum();
        if total != self.tokens.len() {
            return wrong(format!(
                "segments cover {total} tokens, there are {}",
                self.tokens.len()
            ));
        }
        if let Some(id) = self
            .tokens
            .iter()
            .find(|id| **id as usize >= program.vocabulary)
        {
            return wrong(format!(
                "token id {id} is outside the vocabulary of {}",
                program.vocabulary
            ));
        }
        for (i, segment) in self.segments.iter().enumerate() {
            if self.segments[..i]
                .iter()
                .any(|other| other.cache == segment.cache)
            {
                return wrong(format!("cache {} appears twice", segment.cache.0));
            }
        }
        if let Some(row) = self.selected.iter().find(|row| **row as usize >= total) {
            return wrong(format!("selected row {row} of {total} tokens"));
        }
        Ok(())
    }
}
