//! One sequence of tokens.

use std::fmt;
use std::sync::Arc;

use bitnet_kernels::{
    BackendError, CacheId, CachePart, Checkpoint, LayerContents, Output, Segment, Want,
};

use crate::error::Error;
use crate::history::History;
use crate::loaded::Loaded;
use crate::rows::Wanted;

/// One sequence of tokens: what the model has read so far, as keys and values in a cache of its
/// own. The cache's memory is given back when the session is dropped.
///
/// A session can be [truncated](Session::truncate) to any length. Keys and values simply stay where
/// they are; of a model that also keeps a state (`qwen35`), which stands for all tokens, the state
/// goes back to the latest [checkpoint](Session::checkpoint) before that place, or to the
/// beginning, and the tokens between are read again. Either way the session is then, to the bit, a
/// new one that has read the same tokens.
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
    /// Where the model keeps a state.
    history: Option<History>,
}

impl Session {
    pub(crate) fn start(loaded: &Arc<Loaded>, capacity: usize) -> Result<Session, Error> {
        Ok(Session {
            cache: loaded.lock().create_cache(capacity)?,
            loaded: Arc::clone(loaded),
            len: 0,
            capacity,
            history: loaded
                .plan
                .program
                .has_state()
                .then(|| History::new(capacity)),
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

    /// How many of its first `len` tokens a [fork](Session::fork) may have read: all of them or,
    /// of a model with a state, those before the latest checkpoint.
    pub(crate) fn fork_point(&self, len: usize) -> usize {
        let len = len.min(self.len);
        let history = self.history.as_ref();
        history.map_or(len, |history| history.way_back(len))
    }

    /// Another sequence of up to `capacity` tokens, which has read as many of this one's first
    /// `len` as [can be](Session::fork_point), and shares the memory of these.
    ///
    /// # Errors
    /// [`Error::Backend`] where the device [does not share](bitnet_kernels::Forward::sharing),
    /// positions would be rotated in another way, or there is no memory.
    pub(crate) fn fork(&self, len: usize, capacity: usize) -> Result<Session, Error> {
        let len = self.fork_point(len);
        let history = self.history.as_ref();
        let mut running = self.loaded.lock();
        let device = running.backend().device();
        let sharing = running.backend().sharing();
        let sharing = sharing.ok_or_else(|| BackendError::Unsupported {
            device,
            what: "sequences that share what they have read".to_owned(),
        })?;
        Ok(Session {
            loaded: Arc::clone(&self.loaded),
            cache: sharing.fork_cache(self.cache, len, capacity)?,
            len,
            capacity,
            history: history.map(|history| history.fork(len, capacity)),
        })
    }

    /// Gives back the memory of what it has not read; it is taken again once it is needed.
    pub(crate) fn shrink(&mut self) {
        let mut running = self.loaded.lock();
        if let Some(sharing) = running.backend().sharing() {
            sharing.shrink_cache(self.cache, self.len);
        }
    }

    /// The memory that it takes: what it shares with others is in parts of the same name.
    pub(crate) fn parts(&self) -> Vec<CachePart> {
        let mut running = self.loaded.lock();
        let sharing = running.backend().sharing();
        let mut parts = sharing.map_or_else(Vec::new, |sharing| sharing.cache_parts(self.cache));
        parts.extend(self.checkpoints().iter().map(|kept| CachePart {
            name: Arc::as_ptr(kept).addr(),
            bytes: kept.states.iter().map(|state| size_of_val(&**state)).sum(),
        }));
        parts
    }

    /// The states that were kept on the way.
    pub(crate) fn checkpoints(&self) -> &[Arc<Checkpoint>] {
        self.history.as_ref().map_or(&[], History::checkpoints)
    }

    /// What a layer holds of all that was read.
    pub(crate) fn contents(&self, layer: usize) -> Result<LayerContents, Error> {
        let mut running = self.loaded.lock();
        Ok(running.backend().read_cache(self.cache, layer, self.len)?)
    }

    /// Overwrites what a layer holds, from the first token on.
    pub(crate) fn set_contents(
        &mut self,
        layer: usize,
        contents: &LayerContents,
    ) -> Result<(), Error> {
        let mut running = self.loaded.lock();
        Ok(running.backend().write_cache(self.cache, layer, contents)?)
    }

    /// Has read `tokens`, whose keys and values it [was given](Session::set_contents), and has kept
    /// these states on the way.
    pub(crate) fn stands_behind(&mut self, tokens: &[u32], checkpoints: Vec<Checkpoint>) {
        self.len = tokens.len();
        if let Some(history) = &mut self.history {
            *history = History::restored(tokens, checkpoints, self.capacity);
        }
    }

    /// Most tokens of one forward pass.
    pub(crate) fn batch(&self) -> usize {
        self.loaded.batch
    }

    /// Forgets all tokens from position `len` on. Of a model with a state, those between the latest
    /// [checkpoint](Session::checkpoint) and `len` will be read again before the next tokens are.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
        if let Some(history) = &mut self.history {
            history.truncate(self.len);
        }
    }

    /// Whether the model keeps a state, so that going back means to read again what lies behind the
    /// latest checkpoint.
    pub fn keeps_state(&self) -> bool {
        self.history.is_some()
    }

    /// Keeps a copy of the model's state as it is now, so that the session can be truncated to this
    /// length without reading anything again; does nothing where the model keeps no state. At most
    /// four copies are kept, well spread: each takes the memory of one state.
    ///
    /// # Errors
    /// [`Error::Backend`] where the device fails.
    pub fn checkpoint(&mut self) -> Result<(), Error> {
        self.catch_up()?;
        let Some(history) = &mut self.history else {
            return Ok(());
        };
        let kept = history.latest().map_or(0, |kept| kept.tokens);
        if kept < self.len {
            let checkpoint = self.loaded.lock().backend().checkpoint(self.cache)?;
            history.keep(checkpoint);
        }
        Ok(())
    }

    /// Reads `tokens` in batches. `out` has what is wanted after the last of them. Others may use
    /// the device between batches.
    ///
    /// # Errors
    /// [`Error::ContextFull`] where there is no room for all of them, and nothing is read then;
    /// [`Error::Backend`] where a token is outside the vocabulary or the device fails.
    pub fn feed(&mut self, tokens: &[u32], want: Want, out: &mut Output) -> Result<(), Error> {
        self.feed_wanted(tokens, want.into(), out)
    }

    /// The same, with the best among some tokens.
    pub(crate) fn feed_wanted(
        &mut self,
        tokens: &[u32],
        wanted: Wanted<'_>,
        out: &mut Output,
    ) -> Result<(), Error> {
        self.room_for(tokens.len())?;
        self.catch_up()?;
        let batches = tokens.len().div_ceil(self.loaded.batch);
        for (i, tokens) in tokens.chunks(self.loaded.batch).enumerate() {
            let last = i + 1 == batches;
            let wanted = if last { wanted } else { Want::Nothing.into() };
            self.pass(tokens, |at| last && at + 1 == tokens.len(), wanted, out)?;
        }
        Ok(())
    }

    /// Reads `token` and, where the device saves time by that, what is best behind it, `most`
    /// tokens at most. `out` has the best behind each token that was read.
    pub(crate) fn feed_greedy(
        &mut self,
        token: u32,
        most: usize,
        out: &mut Output,
    ) -> Result<(), Error> {
        self.room_for(most)?;
        self.catch_up()?;
        let segment = self.segment(1);
        let mut running = self.loaded.lock();
        let read = running.pass_greedy(token, segment, most, out);
        drop(running);
        self.has_read(&[token], &read);
        if read.is_ok() {
            let ahead = &out.top[..out.top.len().saturating_sub(1)];
            for best in ahead {
                self.has_read(&[best.id], &read);
            }
        }
        read
    }

    /// Reads `tokens`, a batch at most, in one pass; `out` has what is wanted after each of them.
    pub(crate) fn feed_rows(
        &mut self,
        tokens: &[u32],
        want: Want,
        out: &mut Output,
    ) -> Result<(), Error> {
        self.room_for(tokens.len())?;
        self.catch_up()?;
        self.pass(tokens, |_| true, want.into(), out)
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
        self.catch_up()?;
        let vocabulary = self.loaded.plan.program.vocabulary;
        let mut out = Output::default();
        let mut index = 0;
        for tokens in tokens.chunks(self.loaded.batch) {
            self.pass(tokens, |_| true, Want::Logits.into(), &mut out)?;
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
        wanted: Wanted<'_>,
        out: &mut Output,
    ) -> Result<(), Error> {
        let segments = std::iter::once(self.segment(tokens.len()));
        let mut running = self.loaded.lock();
        let read = running.pass(segments, tokens, selects, wanted, out);
        drop(running);
        self.has_read(tokens, &read);
        read
    }

    /// Takes the model's state to where the session is: back, if the session was truncated or a
    /// pass has failed, and from there on over the tokens that it has read.
    pub(crate) fn catch_up(&mut self) -> Result<(), Error> {
        let Some(history) = &mut self.history else {
            return Ok(());
        };
        let mut at = match history.stands {
            Some(stands) if stands <= self.len => stands,
            _ => {
                let to = history.latest();
                self.loaded.lock().backend().rewind(self.cache, to)?;
                to.map_or(0, |to| to.tokens)
            }
        };
        let History { tokens, stands, .. } = history;
        *stands = Some(at);
        let mut out = Output::default();
        for tokens in tokens[at..].chunks(self.loaded.batch) {
            let segments = std::iter::once(Segment {
                cache: self.cache,
                start: at,
                len: tokens.len(),
            });
            *stands = None;
            let mut running = self.loaded.lock();
            running.pass(segments, tokens, |_| false, Want::Nothing.into(), &mut out)?;
            at += tokens.len();
            *stands = Some(at);
        }
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

    /// Notes that a pass over the next `tokens` went well, or how it failed.
    pub(crate) fn has_read(&mut self, tokens: &[u32], read: &Result<(), Error>) {
        match (read, &mut self.history) {
            (Ok(()), history) => {
                self.len += tokens.len();
                if let Some(history) = history {
                    history.push(tokens);
                }
            }
            // The device has refused the batch before it changed anything.
            (Err(Error::Backend(BackendError::Batch(_))), _) | (Err(_), None) => {}
            (Err(_), Some(history)) => history.stands = None,
        }
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
