//! Where the time of a pass goes, as its first thread sees it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bitnet_kernels::program::Program;
use bitnet_kernels::report::{Profile, Timing, kind};

/// The times of a pass's operations, and those of all passes so far.
pub(crate) struct Clock {
    /// Per operation.
    kinds: Vec<String>,
    nanoseconds: Vec<AtomicU64>,
    pub(crate) profile: Profile,
}

impl Clock {
    pub(crate) fn new(program: &Program) -> Clock {
        Clock {
            kinds: program.ops.iter().map(|op| kind(program, op)).collect(),
            nanoseconds: program.ops.iter().map(|_| AtomicU64::new(0)).collect(),
            profile: Profile::new(Timing::Thread),
        }
    }

    /// Notes the time of an operation, with the wait for the other threads that it began with.
    pub(crate) fn note(&self, op: usize, time: Duration) {
        self.nanoseconds[op].store(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Adds what was noted to the profile.
    pub(crate) fn gather(&mut self) {
        for (kind, nanoseconds) in self.kinds.iter().zip(&mut self.nanoseconds) {
            let time = std::mem::take(nanoseconds.get_mut());
            if time > 0 {
                self.profile.add(kind, Duration::from_nanos(time));
            }
        }
    }
}
