//! Telling a slow transfer from one that does not move.

use std::time::{Duration, Instant};

/// Bytes a second under which a transfer counts as stalled.
const MIN_RATE: u64 = 256;

/// Whether a transfer moves at all: a server that sends a byte now and then keeps every read short
/// of its time limit.
pub(super) struct Pace {
    window: Duration,
    since: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn new(window: Duration) -> Self {
        Self {
            window,
            since: Instant::now(),
            bytes: 0,
        }
    }

    /// Count bytes just received; false if the window ends with too few.
    pub(super) fn keeps_up(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        let elapsed = self.since.elapsed();
        if elapsed < self.window {
            return true;
        }
        let enough = self.bytes as f64 >= MIN_RATE as f64 * elapsed.as_secs_f64();
        *self = Self::new(self.window);
        enough
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    #[test]
    fn only_the_end_of_a_window_judges_and_only_too_few_bytes_fail() {
        assert!(
            Pace::new(Duration::from_secs(3600)).keeps_up(1),
            "the window is open"
        );
        assert!(!Pace::new(Duration::ZERO).keeps_up(0));
        assert!(Pace::new(Duration::ZERO).keeps_up(1 << 40));
    }
}
