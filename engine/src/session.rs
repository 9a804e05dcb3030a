//! One sequence of tokens.

use std::fmt;
use std::sync::Arc;

use bitnet_kernels::{CacheId, Output, Segment, Want};

use crate::error::Error;
use crate::loaded::Loaded;

/// One sequence of tokens: what the model has read so far, as keys and values in a cache of its
/// own. The cache's memory is given back when the session is dropped.
///
/// ```
/// # use std::sync::Arc;
/// use bitnet_engine::{LoadOptions, Model, Output, Want, gguf::Gguf};
///
/// let file = Arc::new(Gguf::open("../demo/demo.gguf")?);
/// let model = Model::load(file, &LoadOptions::default())?;
/// let mut session = model.session(8)?;
/// let mut out = Output::default();
/// session.feed(&[859, 26, 199], Want::Top(2), &mut out)?;
/// assert_eq!((session.len(), out.top.len()), (3, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Session {
    loaded: Arc<Loaded>,
    cache: CacheId,
    len: usize,
    capacity: usize,
}

impl Session {
    pub(crate) fn start(loaded: &Arc<Loaded>, capacity: usize) -> Result<Session, Error> {
        Ok(Session {
            cache: loaded.lock().create_cache(capacity)?,
            loaded: Arc::clone(loaded),
            len: 0,
            capacity,
        })
    }

    /// Tokens read so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Tokens there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Most tokens of one forward pass.
    pub(crate) fn batch(&self) -> usize {
        self.loaded.batch
    }

    /// Forgets all tokens from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Reads `tokens` in batches. `out` has what is wanted after the last of them. Others may use
    /// the device between batches.
    ///
    /// # Errors
    /// [`Error::ContextFull`] where there is no room for all of them, and nothing is read then;
    /// [`Error::Backend`] where a token is outside the vocabulary or the device fails.
    pub fn feed(&mut self, tokens: &[u32], want: Want, out: &mut Output) -> Result<(), Error> {
        self.room_for(tokens.len())?;
        let batches = tokens.len().div_ceil(self.loaded.batch);
        for (i, tokens) in tokens.chunks(self.loaded.batch).enumerate() {
            let last = i + 1 == batches;
            let want = if last { want } else { Want::Nothing };
            self.pass(tokens, |at| last && at + 1 == tokens.len(), want, out)?;
        }
        Ok(())
    }

    /// Reads `tokens` in batches and calls `each(index, logits)` for every one of them; `logits`
    /// are as many as the vocabulary has tokens.
    ///
    /// # Errors
    /// As [`Session::feed`].
    pub fn feed_all(
        &mut self,
        tokens: &[u32],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        self.room_for(tokens.len())?;
        let vocabulary = self.loaded.plan.program.vocabulary;
        let mut out = Output::default();
        let mut index = 0;
        for tokens in tokens.chunks(self.loaded.batch) {
            self.pass(tokens, |_| true, Want::Logits, &mut out)?;
            for logits in out.logits.chunks_exact(vocabulary) {
                each(index, logits);
                index += 1;
            }
        }
        Ok(())
    }

    fn pass(
        &mut self,
        tokens: &[u32],
        selects: impl Fn(usize) -> bool,
        want: Want,
        out: &mut Output,
    ) -> Result<(), Error> {
        let segment = self.segment(tokens.len());
        let segments = std::iter::once(segment);
        let mut running = self.loaded.lock();
        running.pass(segments, tokens, selects, want, out)?;
        drop(running);
        self.has_read(tokens.len());
        Ok(())
    }

    /// The next `len` positions.
    pub(crate) fn segment(&self, len: usize) -> Segment {
        Segment {
            cache: self.cache,
            start: self.len,
            len,
        }
    }

    pub(crate) fn room_for(&self, tokens: usize) -> Result<(), Error> {
        let need = self.len + tokens;
        if need > self.capacity {
            Err(Error::ContextFull {
                need,
                have: self.capacity,
            })
        } else {
            Ok(())
        }
    }

    pub(crate) fn is_of(&self, loaded: &Arc<Loaded>) -> bool {
        Arc::ptr_eq(&self.loaded, loaded)
    }

    pub(crate) fn has_read(&mut self, tokens: usize) {
        self.len += tokens;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.loaded.end(self.cache);
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("cache", &self.cache)
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
