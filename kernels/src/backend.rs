//! What a device must offer to run a [`Program`], by who asks for it.
//!
//! - [`Forward`]: whoever generates text. A program runs whole, and only what is wanted comes back.
//! - [`Inspect`]: whoever compares devices. Parts of a program run, and every buffer can be
//!   reached.
//! - [`Telemetry`]: whoever measures. Which kernels ran, where the time went, what the device can
//!   do.
//!
//! A [`Backend`] offers all three. It is made from a program and its weights by a crate of its own,
//! and owns all its buffers and caches.

use std::ops::Range;

use crate::batch::{Batch, CacheId, Choice, Output, Segment, Want};
use crate::candidate::Candidate;
use crate::contents::{Checkpoint, LayerContents};
use crate::error::BackendError;
use crate::format::Encoding;
use crate::program::{BufferId, Program};
use crate::recorder::KernelRecorder;
use crate::report::{Coordination, Limits, Profile, Screening, Traffic};
use crate::screen::KeepsScreen;

/// A device with a program on it, as models are opened on: it runs, can be inspected and reports.
///
/// Implemented for whatever implements the three; take one of them alone where it is enough.
pub trait Backend: Forward + Inspect + Telemetry {}

impl<T: Forward + Inspect + Telemetry> Backend for T {}

/// Runs forward passes of a program, one after another.
pub trait Forward: Send {
    /// The device in words: `cpu avx2, 2 threads`.
    fn device(&self) -> String;

    /// The program it was made for.
    fn program(&self) -> &Program;

    /// Makes an empty cache for one sequence of up to `positions` tokens.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`]; [`BackendError::Device`] where the device failed.
    fn create_cache(&mut self, positions: usize) -> Result<CacheId, BackendError>;

    /// The way in which caches share what they hold; none by default.
    fn sharing(&mut self) -> Option<&mut dyn SharedCaches> {
        None
    }

    /// The screen of the output head, where the device makes one that can be kept for other
    /// processes; none by default.
    fn screen(&mut self) -> Option<&mut dyn KeepsScreen> {
        None
    }

    /// Gives the memory of a cache back; does nothing where there is no such cache.
    fn drop_cache(&mut self, cache: CacheId);

    /// Copies the states of a sequence, as they are now. Keys and values are not in the copy:
    /// earlier ones stay where they are.
    ///
    /// # Errors
    /// [`BackendError::Batch`] where there is no such cache, [`BackendError::NoWayBack`] where a
    /// pass has failed since and left the states half done; [`BackendError::OutOfMemory`] and
    /// [`BackendError::Device`].
    fn checkpoint(&mut self, cache: CacheId) -> Result<Checkpoint, BackendError>;

    /// Takes a sequence back to a checkpoint of its own or, without one, to its beginning: the next
    /// pass continues it from there.
    ///
    /// # Errors
    /// [`BackendError::Batch`] where there is no such cache, or the checkpoint is of another
    /// program; [`BackendError::OutOfMemory`] and [`BackendError::Device`].
    fn rewind(&mut self, cache: CacheId, to: Option<&Checkpoint>) -> Result<(), BackendError>;

    /// Runs the whole program for `batch` and fills `out` with what is wanted.
    ///
    /// # Errors
    /// [`BackendError::Batch`] where the batch does not fit itself, the vocabulary or a cache, and
    /// [`BackendError::NoWayBack`] where a layer keeps a state and a segment does not continue its
    /// sequence at the end; the caches are as before. [`BackendError::OutOfMemory`] and
    /// [`BackendError::Device`], after which sequences with a state have to be rewound.
    fn forward(
        &mut self,
        batch: &Batch<'_>,
        want: Want,
        out: &mut Output,
    ) -> Result<(), BackendError>;

    /// Runs the whole program for `batch` and gives the best logits of each selected token, as
    /// [`Want::Top`] does, but as many of the `i`-th as `choices[i]` says, and among its tokens
    /// alone: `[selected, most]`, where `most` is the largest count, and [`Candidate::NONE`] stands
    /// where there are fewer.
    ///
    /// # Errors
    /// As [`Forward::forward`]; [`BackendError::Batch`] where there is not a choice for each.
    fn forward_choices(
        &mut self,
        batch: &Batch<'_>,
        choices: &[Choice<'_>],
        out: &mut Output,
    ) -> Result<(), BackendError> {
        let vocabulary = self.program().vocabulary;
        let most = batch.most(choices, vocabulary)?;
        self.forward(batch, Want::Logits, out)?;
        for (logits, (choice, row)) in out.logits.chunks(vocabulary).zip(choices.iter().zip(1..)) {
            Candidate::best_among(logits, choice.among, choice.count, &mut out.top);
            out.top.resize(row * most, Candidate::NONE);
        }
        out.logits.clear();
        Ok(())
    }

    /// Continues a sequence with its best tokens: reads `token` at the position of `segment`, which
    /// is of one, and behind it the best of what it gave, as long as that saves time on the device,
    /// `most` tokens at most. `out` has the best logit behind each token that was read, in order:
    /// at least one, of which the last is not read.
    ///
    /// # Errors
    /// As [`Forward::forward`]; [`BackendError::Batch`] where there is no room for `most` tokens.
    fn forward_greedy(
        &mut self,
        token: u32,
        segment: Segment,
        _most: usize,
        out: &mut Output,
    ) -> Result<(), BackendError> {
        let batch = Batch {
            tokens: &[token],
            segments: &[segment],
            selected: &[0],
        };
        self.forward(&batch, Want::Top(1), out)
    }
}

/// Caches that share what they hold of tokens that several sequences have read.
pub trait SharedCaches {
    /// Makes a cache for a sequence of up to `positions` tokens that has read the first `tokens` of
    /// what another one's has. Either sequence may go on as it likes. States are not shared: where
    /// the program keeps any, the new sequence has to be [rewound](Forward::rewind) to a checkpoint
    /// that the other one had at `tokens`.
    ///
    /// # Errors
    /// [`BackendError::Batch`] where there is no such cache, not so many positions in either, or
    /// positions are [rotated in another way](Program::rotates_alike);
    /// [`BackendError::OutOfMemory`].
    fn fork_cache(
        &mut self,
        cache: CacheId,
        tokens: usize,
        positions: usize,
    ) -> Result<CacheId, BackendError>;

    /// Gives back the memory behind the first `tokens` of a cache. It is taken again where tokens
    /// are written there.
    fn shrink_cache(&mut self, cache: CacheId, tokens: usize);

    /// What a cache holds, in parts; nothing where there is no such cache.
    fn cache_parts(&self, cache: CacheId) -> Vec<CachePart>;
}

/// A part of what a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachePart {
    /// Its name, the same for all caches that have it.
    pub name: usize,
    /// Bytes of memory.
    pub bytes: usize,
}

/// Stops inside a forward pass and reaches what the device holds there.
///
/// Buffers hold the values of the latest pass until the next one. Slow: everything is copied.
pub trait Inspect: Forward {
    /// Runs only the operations `ops` (indices into the program) for `batch`, on what the buffers
    /// hold. An empty range makes room for the batch and runs nothing.
    ///
    /// # Errors
    /// As [`Forward::forward`].
    fn run(&mut self, batch: &Batch<'_>, ops: Range<usize>) -> Result<(), BackendError>;

    /// Reads the first `rows` rows of a buffer, decoded to f32: `[rows, width]`.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`] and [`BackendError::Device`].
    fn read(&mut self, buffer: BufferId, rows: usize) -> Result<Vec<f32>, BackendError>;

    /// Overwrites the first rows of an f32 buffer with `values`, `[rows, width]`.
    ///
    /// # Errors
    /// [`BackendError::OutOfMemory`] and [`BackendError::Device`].
    fn write(&mut self, buffer: BufferId, values: &[f32]) -> Result<(), BackendError>;

    /// Reads what a layer of a cache holds; of keys and values, those of positions
    /// `0 .. positions`.
    ///
    /// # Errors
    /// [`BackendError::Batch`] where there is no such cache, layer or position;
    /// [`BackendError::OutOfMemory`] and [`BackendError::Device`].
    fn read_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        positions: usize,
    ) -> Result<LayerContents, BackendError>;

    /// Overwrites what a layer of a cache holds; of keys and values, those from position 0 on.
    ///
    /// # Errors
    /// As [`Inspect::read_cache`], and [`BackendError::Batch`] where the layer holds something
    /// else.
    fn write_cache(
        &mut self,
        cache: CacheId,
        layer: usize,
        contents: &LayerContents,
    ) -> Result<(), BackendError>;
}

/// Tells what a device did and what it can do.
pub trait Telemetry {
    /// Which kernels ran since it was last cleared.
    fn recorder(&mut self) -> &mut KernelRecorder;

    /// Starts to measure where the time goes, from nothing, or stops. Whether the device can tell.
    fn set_profiling(&mut self, _on: bool) -> bool {
        false
    }

    /// Where the time went since [`Telemetry::set_profiling`] turned it on; `None` where it is off
    /// or the device cannot tell.
    fn profile(&self) -> Option<&Profile> {
        None
    }

    /// What searching the output head through a screen cost and saved; `None` if this backend has
    /// none.
    fn screening(&self) -> Option<Screening> {
        None
    }

    /// Bytes of weights that passes have left out so far, since what they would have been
    /// multiplied by is 0.
    fn skipped_bytes(&self) -> u64 {
        0
    }

    /// What this side has asked of the device so far; `None` where the two are one.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// How often threads have had to do with each other so far; never, where there is one or the
    /// device is none of threads.
    fn coordination(&self) -> Coordination {
        Coordination::default()
    }

    /// Measures what the device can do at most; `None` where nothing is measured. Takes well below
    /// a second.
    fn limits(&mut self) -> Option<Limits> {
        None
    }
}

/// Gives `to` every f32 buffer of `from`, as far as the batch fills it. What is encoded each makes
/// for itself.
pub(crate) fn copy_buffers(
    from: &mut dyn Inspect,
    to: &mut dyn Inspect,
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
