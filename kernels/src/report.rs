//! What a backend tells of its work, for those who measure it.

use std::collections::BTreeMap;
use std::time::Duration;

/// A compact copy of the output head that rules out most rows where only the best few logits are
/// wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screening {
    /// Bytes of the copy when it is complete, all of which are read once per pass.
    pub bytes: u64,
    /// Rows of the head.
    pub rows: usize,
    /// Rows that are in the copy so far.
    pub ready: usize,
    /// Time that it took to make the copy, summed over threads.
    pub thread_time: Duration,
    /// Tokens whose best logits were found with the complete copy.
    pub tokens: u64,
    /// Rows that were read of the head itself for these tokens.
    pub exact_rows: u64,
}

/// The most that a device can do with the threads and instructions that a backend uses, as
/// measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Bytes per second of reading memory through, far beyond the caches.
    pub read_bandwidth: f64,
    /// Multiply-adds of bytes per second, in registers.
    pub multiply_adds: f64,
}

/// Where the time of forward passes goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    steps: BTreeMap<String, Spent>,
}

/// The time of one kind of operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// All of it.
    pub time: Duration,
    /// How often the operation ran.
    pub count: u64,
}

impl Profile {
    /// Adds one run of an operation.
    pub fn add(&mut self, step: &str, time: Duration) {
        // Asked for by reference first, since a name is made only once.
        if !self.steps.contains_key(step) {
            self.steps.insert(step.to_owned(), Spent::default());
        }
        if let Some(spent) = self.steps.get_mut(step) {
            spent.time += time;
            spent.count += 1;
        }
    }

    /// Kinds of operations with what they took, by name.
    pub fn steps(&self) -> impl Iterator<Item = (&str, Spent)> {
        self.steps
            .iter()
            .map(|(step, spent)| (step.as_str(), *spent))
    }

    /// The time of all of them.
    pub fn total(&self) -> Duration {
        self.steps.values().map(|spent| spent.time).sum()
    }
}
