//! Ctrl-C as a value: a flag that wakes sleepers and runs what must be stopped from outside (a
//! blocked read).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Raised once, by Ctrl-C (or `SIGTERM`); clones share the same flag.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Shared>);

/// Ctrl-C cannot be handled.
#[derive(Debug, thiserror::Error)]
#[error("cannot handle Ctrl-C: {0}")]
pub struct SignalError(#[from] ctrlc::Error);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    raised: Condvar,
}

#[derive(Default)]
struct State {
    raised: bool,
    stoppers: Vec<Box<dyn FnOnce() + Send>>,
}

impl Interrupt {
    /// The interrupt raised by Ctrl-C and by the termination signals, the same at every call. A
    /// second Ctrl-C ends the process on the spot, with the `exit_code` of the first call, for
    /// whoever will not wait for a slow disk; what a `kill -9` leaves is good to continue from as
    /// well.
    ///
    /// # Errors
    /// Another handler is already installed, or the system refuses one.
    pub fn from_signals(exit_code: u8) -> Result<Self, SignalError> {
        static HANDLED: Mutex<Option<Interrupt>> = Mutex::new(None);
        let mut handled = HANDLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(interrupt) = &*handled {
            return Ok(interrupt.clone());
        }
        let interrupt = Self::default();
        let raised_by_handler = interrupt.clone();
        ctrlc::set_handler(move || {
            if raised_by_handler.is_raised() {
                std::process::exit(exit_code.into());
            }
            raised_by_handler.raise();
        })?;
        *handled = Some(interrupt.clone());
        Ok(interrupt)
    }

    /// Raise it: wakes every sleeper and runs the stoppers.
    pub fn raise(&self) {
        let stoppers = {
            let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.raised = true;
            std::mem::take(&mut state.stoppers)
        };
        self.0.raised.notify_all();
        for stop in stoppers {
            stop();
        }
    }

    /// Whether it was raised.
    pub fn is_raised(&self) -> bool {
        self.0
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .raised
    }

    /// Sleep, but not through an interrupt. True if it was raised.
    pub fn sleep(&self, time: Duration) -> bool {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (state, _) = self
            .0
            .raised
            .wait_timeout_while(state, time, |state| !state.raised)
            .unwrap_or_else(PoisonError::into_inner);
        state.raised
    }

    /// Run `stop` when raised, from the thread that raises it; at once if that has happened.
    pub fn on_raise(&self, stop: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.raised {
            drop(state);
            stop();
        } else {
            state.stoppers.push(Box::new(stop));
        }
    }
}

impl std::fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Interrupt").field(&self.is_raised()).finish()
    }
}
