//! A loaded model.

use std::borrow::BorrowMut;
use std::fmt;
use std::sync::Arc;

use bitnet_gguf::Gguf;
use bitnet_kernels::{Backend, Output, SharedWeights, Want, WeightId};

use crate::config::Config;
use crate::error::Error;
use crate::kept::screens::Screens;
use crate::loaded::Loaded;
use crate::options::LoadOptions;
use crate::placement;
use crate::plan::{self, Plan};
use crate::rows::Wanted;
use crate::session::Session;

/// A model on a device, without a tokenizer: token ids in, logits out.
///
/// It is a handle: clones share the weights and the device, and any number of sequences, on any
/// number of threads, can read with it. Their forward passes take turns; [`Model::step`] reads one
/// token for each of several sequences in a single pass.
#[derive(Clone)]
pub struct Model {
    loaded: Arc<Loaded>,
}

impl Model {
    /// Plans the model of a file and places it on a device. Weights stay in the file's memory map.
    ///
    /// # Errors
    /// [`Error::Incompatible`] with everything that stops the file from running;
    /// [`Error::NoGpuSupport`], [`Error::Split`] or [`Error::Backend`] where the device cannot be
    /// had.
    pub fn load(gguf: Arc<Gguf>, options: &LoadOptions) -> Result<Model, Error> {
        let plan = plan::plan(&gguf, options.cache_type)
            .map_err(|problems| Error::Incompatible { problems })?;
        let weights: SharedWeights = Arc::<Gguf>::clone(&gguf);
        let mut backend = placement::place(options, &plan.program, &weights)?;
        let screens = options.screens.as_ref();
        let screens = screens.and_then(|cache| Screens::open(cache, &gguf, &mut *backend));
        let loaded = Loaded::new(plan, backend, options.batch).of_file(gguf, screens);
        Ok(Model {
            loaded: Arc::new(loaded),
        })
    }

    /// A plan whose program is on a device already; at most `batch` tokens of a prompt in one
    /// forward pass.
    pub fn on(plan: Plan, backend: Box<dyn Backend>, batch: usize) -> Model {
        Model {
            loaded: Arc::new(Loaded::new(plan, backend, batch)),
        }
    }

    /// The model's shape.
    pub fn config(&self) -> &Config {
        &self.plan().config
    }

    /// The model's forward pass, and where its layers end.
    pub fn plan(&self) -> &Plan {
        &self.loaded.plan
    }

    /// Most tokens of a prompt in one forward pass.
    pub fn batch(&self) -> usize {
        self.loaded.batch
    }

    /// Hands out the device itself, for measuring and inspecting, when the pass that is running has
    /// ended. Everything else that uses the device waits meanwhile: `work` must not.
    pub fn with_backend<T>(&self, work: impl FnOnce(&mut dyn Backend) -> T) -> T {
        work(self.loaded.lock().backend())
    }

    /// The output head, where a screen of it is read that another process has made.
    pub(crate) fn head_of_kept_screen(&self) -> Option<WeightId> {
        self.loaded.lock().head_of_kept_screen()
    }

    /// The device in words: `cpu avx2, 2 threads`.
    pub fn device(&self) -> String {
        self.with_backend(|backend| backend.device())
    }

    /// Whether all of it runs on the CPU, whose results are the same to the bit on every machine.
    pub fn is_on_cpu(&self) -> bool {
        self.device().starts_with("cpu")
    }

    /// Starts a sequence of up to `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Backend`] where there is no memory for its cache.
    pub fn session(&self, capacity: usize) -> Result<Session, Error> {
        Session::start(&self.loaded, capacity)
    }

    /// Reads one token for each of several sequences in one forward pass; `out` has what is wanted
    /// for each, in their order. Allocates nothing once `out` has its size.
    ///
    /// # Errors
    /// [`Error::ContextFull`] where a sequence has no room, [`Error::Batch`] where there is not one
    /// token for each or a sequence is of another model, and nothing is read then;
    /// [`Error::Backend`] where the device fails.
    pub fn step(
        &self,
        sessions: &mut [impl BorrowMut<Session>],
        tokens: &[u32],
        want: Want,
        out: &mut Output,
    ) -> Result<(), Error> {
        if sessions.len() != tokens.len() {
            return Err(Error::Batch(format!(
                "{} tokens for {} sequences",
                tokens.len(),
                sessions.len()
            )));
        }
        self.pass(sessions, |_| 1, tokens, |_| true, want.into(), out)
    }

    /// Reads the next `len(i)` of `tokens` for the `i`-th of several sequences, in one forward
    /// pass; what is wanted is given for each token of which `selects` holds.
    ///
    /// # Errors
    /// As [`Model::step`].
    pub(crate) fn pass(
        &self,
        sessions: &mut [impl BorrowMut<Session>],
        len: impl Fn(usize) -> usize,
        tokens: &[u32],
        selects: impl Fn(usize) -> bool,
        wanted: Wanted<'_>,
        out: &mut Output,
    ) -> Result<(), Error> {
        for (index, session) in sessions.iter().enumerate() {
            let session = session.borrow();
            if !session.is_of(&self.loaded) {
                let problem = format!("sequence {index} was started by another model");
                return Err(Error::Batch(problem));
            }
            session.room_for(len(index))?;
        }
        for session in &mut *sessions {
            session.borrow_mut().catch_up()?;
        }
        let segments = sessions.iter().enumerate();
        let segments = segments.map(|(index, session)| session.borrow().segment(len(index)));
        let mut running = self.loaded.lock();
        let read = running.pass(segments, tokens, selects, wanted, out);
        drop(running);
        let mut rest = tokens;
        for (index, session) in sessions.iter_mut().enumerate() {
            let (own, others) = rest.split_at(len(index));
            session.borrow_mut().has_read(own, &read);
            rest = others;
        }
        read
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("config", self.config())
            .finish_non_exhaustive()
    }
}
