//! Where the time of a pass goes, from the end of one operation to the end of the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bitnet_kernels::program::Program;
use bitnet_kernels::report::{Profile, Timing, kind};

/// The times of a pass's operations, and those of all passes so far.
pub(crate) struct Clock {
    /// Per operation.
    kinds: Vec<String>,
    nanoseconds: Vec<AtomicU64>,
    since: Instant,
    /// When the last operation ended, in nanoseconds.
    last: AtomicU64,
    pub(crate) profile: Profile,
}

impl Clock {
    pub(crate) fn new(program: &Program) -> Clock {
        Clock {
            kinds: program.ops.iter().map(|op| kind(program, op)).collect(),
            nanoseconds: program.ops.iter().map(|_| AtomicU64::new(0)).collect(),
            since: Instant::now(),
            last: AtomicU64::new(0),
            profile: Profile::new(Timing::Thread),
        }
    }

    /// Nanoseconds since this was called last.
    fn lap(&self) -> u64 {
        let now = self.since.elapsed().as_nanos() as u64;
        now - self.last.swap(now, Ordering::Relaxed)
    }

    /// Begins with the first operation.
    pub(crate) fn start(&self) {
        self.lap();
    }

    /// Notes the time of an operation that has just ended. One thread at a time does.
    pub(crate) fn note(&self, op: usize) {
        self.nanoseconds[op].store(self.lap(), Ordering::Relaxed);
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
