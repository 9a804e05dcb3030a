//! What a backend tells of its work, for those who measure it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use crate::program::{Op, Program, WeightId};

/// A compact copy of the output head that rules out most rows where only the best few logits are
/// wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screening {
    /// Bytes of the copy when it is complete.
    pub bytes: u64,
    /// Rows of the head.
    pub rows: usize,
    /// Rows that are in the copy so far.
    pub ready: usize,
    /// Of these, rows that another process had made.
    pub kept: usize,
    /// Time that it took to make the copy, summed over threads.
    pub thread_time: Duration,
    /// Tokens whose best logits were found with the complete copy, or with one that was kept.
    pub tokens: u64,
    /// Bytes that were read of the copy for these tokens; tokens of one pass share them.
    pub bytes_read: u64,
    /// Rows that were read of the head itself for these tokens.
    pub exact_rows: u64,
}

/// How often threads that share the work of passes have had to do with each other so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coordination {
    /// Points of passes where nobody goes on before everything so far is done.
    pub barriers: u64,
    /// Atomic changes of what other threads change as well.
    pub contended: u64,
}

impl Sub for Coordination {
    type Output = Coordination;

    /// How often since `earlier`.
    fn sub(self, earlier: Coordination) -> Coordination {
        Coordination {
            barriers: self.barriers - earlier.barriers,
            contended: self.contended - earlier.contended,
        }
    }
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

/// What a host has asked of a device with memory of its own, counted from when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Kernels started, each over a grid of workgroups of its own.
    pub dispatches: u64,
    /// Times that work was handed over to the device.
    pub submissions: u64,
    /// Writes to the device's memory.
    pub uploads: u64,
    /// Bytes of these writes.
    pub uploaded_bytes: u64,
    /// Bytes that came back.
    pub downloaded_bytes: u64,
}

impl Add for Traffic {
    type Output = Traffic;

    /// What was asked of two devices.
    fn add(self, other: Traffic) -> Traffic {
        Traffic {
            dispatches: self.dispatches + other.dispatches,
            submissions: self.submissions + other.submissions,
            uploads: self.uploads + other.uploads,
            uploaded_bytes: self.uploaded_bytes + other.uploaded_bytes,
            downloaded_bytes: self.downloaded_bytes + other.downloaded_bytes,
        }
    }
}

impl Sub for Traffic {
    type Output = Traffic;

    /// What was asked since `earlier`.
    fn sub(self, earlier: Traffic) -> Traffic {
        Traffic {
            dispatches: self.dispatches - earlier.dispatches,
            submissions: self.submissions - earlier.submissions,
            uploads: self.uploads - earlier.uploads,
            uploaded_bytes: self.uploaded_bytes - earlier.uploaded_bytes,
            downloaded_bytes: self.downloaded_bytes - earlier.downloaded_bytes,
        }
    }
}

/// How the times of a profile were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// By one of the threads that run a pass, from operation to operation.
    Thread,
    /// By timestamps of the device around each operation. What lies between operations is not in
    /// them.
    Timestamps,
    /// By the host, which submits each operation on its own and waits for it. The way to the device
    /// and back is in them.
    Submissions,
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Timing::Thread => "one thread, from operation to operation",
            Timing::Timestamps => "the device's timestamps around each operation",
            Timing::Submissions => "the host, which submits each operation and waits for it",
        })
    }
}

/// Where the time of forward passes goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    timing: Timing,
    kinds: BTreeMap<String, Spent>,
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
    /// A profile of nothing yet.
    pub fn new(timing: Timing) -> Profile {
        Profile {
            timing,
            kinds: BTreeMap::new(),
        }
    }

    /// How its times were taken.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Adds one run of a [`kind`] of operation.
    pub fn add(&mut self, kind: &str, time: Duration) {
        // Asked for by reference first, since a name is made only once.
        if !self.kinds.contains_key(kind) {
            self.kinds.insert(kind.to_owned(), Spent::default());
        }
        if let Some(spent) = self.kinds.get_mut(kind) {
            spent.time += time;
            spent.count += 1;
        }
    }

    /// Kinds of operations with what they took, by name.
    pub fn kinds(&self) -> impl Iterator<Item = (&str, Spent)> {
        self.kinds
            .iter()
            .map(|(kind, spent)| (kind.as_str(), *spent))
    }

    /// The time of all of them.
    pub fn total(&self) -> Duration {
        self.kinds.values().map(|spent| spent.time).sum()
    }
}

/// An operation's name, with the matrices that it multiplies: the same for all layers.
pub fn kind(program: &Program, op: &Op) -> String {
    let matrix = |weight: WeightId| {
        let name = program.weight(weight).name.as_str();
        let name = name.strip_suffix(".weight").unwrap_or(name);
        let of_layer = name.strip_prefix("blk.").and_then(|of| of.split_once('.'));
        of_layer.map_or(name, |(_layer, name)| name)
    };
    let matrices = op.products().map(|product| matrix(product.weight));
    let words: Vec<&str> = std::iter::once(op.name()).chain(matrices).collect();
    words.join(" ")
}
