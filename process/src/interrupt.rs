//! [`Interrupt`]: a flag that wakes sleepers and runs what must be stopped from outside (a blocked
//! read).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Raised once; clones share the same flag. That of a [`Watch`] is raised by a signal.
///
/// [`Watch`]: crate::Watch
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Shared>);

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
