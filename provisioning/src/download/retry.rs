//! When to try again, and how long to wait first.

use std::time::{Duration, SystemTime};

/// Limits on patience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries after the first that may fail in a row without anything new having arrived.
    pub retries: u32,
    /// The wait before the first retry; doubles with each further one.
    pub backoff: Duration,
    /// Longest silence from the server, and the window over which it must send at least 256 bytes
    /// a second.
    pub stall: Duration,
    /// Longest `Retry-After` that is waited for.
    pub max_wait: Duration,
}

/// New bytes after which the count of failed tries starts over, so that a long download over a poor
/// line ends well.
const FRESH_START: u64 = 1 << 20;

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            retries: 3,
            backoff: Duration::from_millis(200),
            stall: Duration::from_secs(30),
            max_wait: Duration::from_secs(300),
        }
    }
}

/// The tries of one download.
#[derive(Debug)]
pub(super) struct Tries<'a> {
    policy: &'a RetryPolicy,
    failed: u32,
    /// Most bytes ever held, as of the last fresh start. Only going beyond it counts as progress,
    /// so that a server that makes us begin again and again cannot hold us forever.
    high_water: u64,
}

impl<'a> Tries<'a> {
    pub(super) fn new(policy: &'a RetryPolicy, held: u64) -> Self {
        Self {
            policy,
            failed: 0,
            high_water: held,
        }
    }

    /// The number of the try that runs or has just failed, from 1.
    pub(super) fn number(&self) -> u32 {
        self.failed + 1
    }

    /// All tries there may be in a row.
    pub(super) fn limit(&self) -> u32 {
        self.policy.retries.saturating_add(1)
    }

    /// A try failed with `held` bytes at hand; the server may have asked for a pause. How long to
    /// wait before the next, or `None` to give up.
    pub(super) fn after_failure(&mut self, held: u64, asked: Option<Duration>) -> Option<Duration> {
        if held >= self.high_water.saturating_add(FRESH_START) {
            self.high_water = held;
            self.failed = 0;
        }
        if self.failed >= self.policy.retries
            || asked.is_some_and(|wait| wait > self.policy.max_wait)
        {
            return None;
        }
        let doubled = self.policy.backoff.saturating_mul(1 << self.failed.min(16));
        self.failed += 1;
        Some(asked.unwrap_or(doubled.min(self.policy.max_wait)))
    }
}

/// A `Retry-After` header: seconds, or a date.
pub(super) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(header).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{FRESH_START, RetryPolicy, Tries, retry_after};

    #[test]
    fn waits_double_and_end_after_the_retries() {
        let policy = RetryPolicy::default();
        let mut tries = Tries::new(&policy, 0);
        let waits: Vec<_> = std::iter::from_fn(|| tries.after_failure(0, None))
            .map(|wait| wait.as_millis())
            .collect();
        assert_eq!(waits, [200, 400, 800]);
    }

    #[test]
    fn only_bytes_never_held_before_buy_more_tries() {
        let policy = RetryPolicy {
            retries: 1,
            ..RetryPolicy::default()
        };
        let mut tries = Tries::new(&policy, 0);
        assert!(tries.after_failure(FRESH_START, None).is_some());
        assert!(
            tries.after_failure(2 * FRESH_START, None).is_some(),
            "progress starts the count over"
        );
        assert!(
            tries.after_failure(2 * FRESH_START, None).is_none(),
            "the same bytes again do not"
        );
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_limit() {
        let policy = RetryPolicy::default();
        let mut tries = Tries::new(&policy, 0);
        assert_eq!(
            tries.after_failure(0, Some(Duration::from_secs(7))),
            Some(Duration::from_secs(7))
        );
        assert_eq!(
            tries.after_failure(0, Some(policy.max_wait + Duration::from_secs(1))),
            None
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        assert_eq!(retry_after(" 12 ", now), Some(Duration::from_secs(12)));
        assert_eq!(
            retry_after("Thu, 01 Jan 1970 00:17:00 GMT", now),
            Some(Duration::from_secs(20))
        );
        assert_eq!(
            retry_after("Thu, 01 Jan 1970 00:00:00 GMT", now),
            Some(Duration::ZERO),
            "the date has passed"
        );
        assert_eq!(retry_after("soon", now), None);
    }
}
