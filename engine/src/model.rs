//! A loaded model and its sequences.

use std::sync::Arc;

use bitnet_gguf::Gguf;
use bitnet_kernels::program::CacheType;
use bitnet_kernels::{Backend, Batch, CacheId, Output, Segment, SharedWeights, Want};

use crate::config::Config;
use crate::device::{self, Device, Progress};
use crate::error::Error;
use crate::plan::{self, Plan};

/// How to load a model.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Where to run it.
    pub device: Device,
    /// CPU threads; all cores when absent.
    pub threads: Option<usize>,
    /// How keys and values are kept.
    pub cache_type: CacheType,
    /// Most tokens of a prompt in one forward pass.
    pub batch: usize,
    /// Told of weights on their way to a GPU.
    pub progress: Option<Progress>,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            device: Device::Auto,
            threads: None,
            cache_type: CacheType::F16,
            batch: 512,
            progress: None,
        }
    }
}

/// A model on a device.
pub struct Model {
    plan: Plan,
    backend: Box<dyn Backend>,
    batch: usize,
    /// The batch of [`Model::step`], kept so that a step allocates nothing.
    segments: Vec<Segment>,
    selected: Vec<u32>,
}

/// One sequence of tokens: what the model has read so far.
#[derive(Debug)]
pub struct Session {
    cache: CacheId,
    len: usize,
    capacity: usize,
}

impl Session {
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

    /// Forgets all tokens from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    fn room_for(&self, tokens: usize) -> Result<(), Error> {
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
}

impl Model {
    /// Plans the model of a file and places it on a device. Weights stay in the file's memory map.
    pub fn load(gguf: Arc<Gguf>, options: &LoadOptions) -> Result<Model, Error> {
        let plan = plan::plan(&gguf, options.cache_type)
            .map_err(|problems| Error::Incompatible { problems })?;
        let weights: SharedWeights = gguf;
        let backend = device::open(options, &plan.program, &weights)?;
        Ok(Model::on(plan, backend, options.batch))
    }

    /// A plan whose program is on a device already; at most `batch` tokens of a prompt in one
    /// forward pass.
    pub fn on(plan: Plan, backend: Box<dyn Backend>, batch: usize) -> Model {
        Model {
            plan,
            backend,
            batch: batch.max(1),
            segments: Vec::new(),
            selected: Vec::new(),
        }
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.plan.config
    }

    /// The model's forward pass, and where its layers end.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Most tokens of a prompt in one forward pass.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The device it is on.
    pub fn backend(&mut self) -> &mut dyn Backend {
        &mut *self.backend
    }

    /// The device in words.
    pub fn device(&self) -> String {
        self.backend.device()
    }

    /// Starts a sequence of up to `capacity` tokens.
    pub fn session(&mut self, capacity: usize) -> Result<Session, Error> {
        Ok(Session {
            cache: self.backend.create_cache(capacity)?,
            len: 0,
            capacity,
        })
    }

    /// Gives a sequence's memory back.
    pub fn end(&mut self, session: Session) {
        self.backend.drop_cache(session.cache);
    }

    /// Reads `tokens` in batches. `out` has what is wanted after the last of them.
    pub fn feed(
        &mut self,
        session: &mut Session,
        tokens: &[u32],
        want: Want,
        out: &mut Output,
    ) -> Result<(), Error> {
        session.room_for(tokens.len())?;
        let batches = tokens.len().div_ceil(self.batch);
        for (i, tokens) in tokens.chunks(self.batch).enumerate() {
            let last = [tokens.len() as u32 - 1];
            let (selected, want) = if i + 1 == batches {
                (&last[..], want)
            } else {
                (&[][..], Want::Nothing)
            };
            self.pass(session, tokens, selected, want, out)?;
        }
        Ok(())
    }

    /// Reads `tokens` in batches and calls `each(index, logits)` for every one of them.
    pub fn feed_all(
        &mut self,
        session: &mut Session,
        tokens: &[u32],
        mut each: impl FnMut(usize, &[f32]),
    ) -> Result<(), Error> {
        session.room_for(tokens.len())?;
        let vocabulary = self.plan.program.vocabulary;
        let mut out = Output::default();
        let mut index = 0;
        for tokens in tokens.chunks(self.batch) {
            let selected: Vec<u32> = (0..tokens.len() as u32).collect();
            self.pass(session, tokens, &selected, Want::Logits, &mut out)?;
            for logits in out.logits.chunks_exact(vocabulary) {
                each(index, logits);
                index += 1;
            }
        }
        Ok(())
    }

    /// Reads one token for each of several sequences in one forward pass; `out` has what is wanted
    /// for each.
    pub fn step(
        &mut self,
        sessions: &mut [Session],
        tokens: &[u32],
        want: Want,
        out: &mut Output,
    ) -> Result<(), Error> {
        for session in sessions.iter() {
            session.room_for(1)?;
        }
        let segment = |session: &Session| Segment {
            cache: session.cache,
            start: session.len,
            len: 1,
        };
        self.segments.clear();
        self.segments.extend(sessions.iter().map(segment));
        self.selected.clear();
        self.selected.extend(0..tokens.len() as u32);
        self.backend.forward(
            &Batch {
                tokens,
                segments: &self.segments,
                selected: &self.selected,
            },
            want,
            out,
        )?;
        for session in sessions {
            session.len += 1;
        }
        Ok(())
    }

    fn pass(
        &mut self,
        session: &mut Session,
        tokens: &[u32],
        selected: &[u32],
        want: Want,
        out: &mut Output,
    ) -> Result<(), Error> {
        let segments = [Segment {
            cache: session.cache,
            start: session.len,
            len: tokens.len(),
        }];
        self.backend.forward(
            &Batch {
                tokens,
                segments: &segments,
                selected,
            },
            want,
            out,
        )?;
        session.len += tokens.len();
        Ok(())
    }
}
