//! A program on its device, shared by everything that reads tokens with it.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bitnet_gguf::Gguf;
use bitnet_kernels::{Backend, Batch, CacheId, Output, Segment, WeightId};

use crate::error::Error;
use crate::kept::screens::Screens;
use crate::plan::Plan;
use crate::rows::Wanted;

/// A plan on a device. One forward pass runs at a time; whoever wants another one waits.
pub(crate) struct Loaded {
    pub(crate) plan: Plan,
    /// Most tokens of a prompt in one forward pass.
    pub(crate) batch: usize,
    running: Mutex<Running>,
    /// Caches of sequences that ended while a pass was running.
    ended: Mutex<Vec<CacheId>>,
}

/// The device, and the batch of its next pass, kept so that a step allocates nothing.
pub(crate) struct Running {
    backend: Box<dyn Backend>,
    /// The file that the weights lie in, where it is known.
    file: Option<Arc<Gguf>>,
    screens: Option<Screens>,
    segments: Vec<Segment>,
    selected: Vec<u32>,
}

impl Loaded {
    pub(crate) fn new(plan: Plan, backend: Box<dyn Backend>, batch: usize) -> Loaded {
        Loaded {
            plan,
            batch: batch.max(1),
            running: Mutex::new(Running {
                backend,
                file: None,
                screens: None,
                segments: Vec::new(),
                selected: Vec::new(),
            }),
            ended: Mutex::new(Vec::new()),
        }
    }

    /// The same, with the file that its weights lie in, and where its screen is kept.
    pub(crate) fn of_file(mut self, file: Arc<Gguf>, screens: Option<Screens>) -> Loaded {
        let running = unpoisoned(self.running.get_mut());
        running.file = Some(file);
        running.screens = screens;
        self
    }

    /// Waits for the pass that is running, if one is.
    pub(crate) fn lock(&self) -> Lock<'_> {
        Lock {
            running: unpoisoned(self.running.lock()),
            _then: FreeEnded(self),
        }
    }

    /// Gives a cache's memory back: now, or when the pass that is running ends.
    pub(crate) fn end(&self, cache: CacheId) {
        unpoisoned(self.ended.lock()).push(cache);
        self.free_ended();
    }

    /// Whoever cannot lock leaves it to whoever did: that one comes here after unlocking.
    fn free_ended(&self) {
        while !unpoisoned(self.ended.lock()).is_empty() {
            let mut running = match self.running.try_lock() {
                Ok(running) => running,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            for cache in unpoisoned(self.ended.lock()).drain(..) {
                running.backend.drop_cache(cache);
            }
        }
    }
}

impl Running {
    /// Runs one pass over `tokens`, which belong to `segments` in their order. What is
    /// `wanted` is given for each token of which `selects` holds.
    pub(crate) fn pass(
        &mut self,
        segments: impl Iterator<Item = Segment>,
        tokens: &[u32],
        selects: impl Fn(usize) -> bool,
        wanted: Wanted<'_>,
        out: &mut Output,
    ) -> Result<(), Error> {
        self.check_files()?;
        self.segments.clear();
        self.segments.extend(segments);
        self.selected.clear();
        let selected = (0..tokens.len()).filter(|index| selects(*index));
        self.selected.extend(selected.map(|index| index as u32));
        let batch = Batch {
            tokens,
            segments: &self.segments,
            selected: &self.selected,
        };
        match wanted.want {
            want if wanted.choices.is_empty() => self.backend.forward(&batch, want, out)?,
            _ => self.backend.forward_choices(&batch, wanted.choices, out)?,
        }
        self.keep_screen();
        Ok(())
    }

    /// Continues a sequence with its best tokens, as many of `most` as the device takes at a time:
    /// see [`bitnet_kernels::Forward::forward_greedy`].
    pub(crate) fn pass_greedy(
        &mut self,
        token: u32,
        segment: Segment,
        most: usize,
        out: &mut Output,
    ) -> Result<(), Error> {
        self.check_files()?;
        self.backend.forward_greedy(token, segment, most, out)?;
        self.keep_screen();
        Ok(())
    }

    pub(crate) fn head_of_kept_screen(&self) -> Option<WeightId> {
        self.screens.as_ref()?.head_of_kept()
    }

    fn keep_screen(&mut self) {
        if let Some(screens) = &mut self.screens {
            screens.after_pass(&mut *self.backend);
        }
    }

    fn check_files(&self) -> Result<(), Error> {
        if let Some(screens) = &self.screens {
            screens.before_pass();
        }
        match &self.file {
            Some(file) => file.check_whole().map_err(Error::Changed),
            None => Ok(()),
        }
    }

    pub(crate) fn backend(&mut self) -> &mut dyn Backend {
        &mut *self.backend
    }

    pub(crate) fn create_cache(&mut self, positions: usize) -> Result<CacheId, Error> {
        Ok(self.backend.create_cache(positions)?)
    }
}

/// Fields are dropped in this order: what ended meanwhile is freed behind the unlocking.
pub(crate) struct Lock<'a> {
    running: MutexGuard<'a, Running>,
    _then: FreeEnded<'a>,
}

struct FreeEnded<'a>(&'a Loaded);

impl Drop for FreeEnded<'_> {
    fn drop(&mut self) {
        self.0.free_ended();
    }
}

impl Deref for Lock<'_> {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl DerefMut for Lock<'_> {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.running
    }
}

/// A pass that panicked leaves nothing half done that the next one reads: each begins by filling
/// its own buffers.
fn unpoisoned<T>(locked: Result<T, PoisonError<T>>) -> T {
    locked.unwrap_or_else(PoisonError::into_inner)
}
