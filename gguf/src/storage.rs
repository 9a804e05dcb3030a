//! Where a file's bytes live: in a memory map of one file or of several, in the program itself, or
//! in a buffer.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::map::{JoinedMap, Map};

/// Bytes of a file of which one is asked whether they are in memory.
#[cfg(target_os = "linux")]
const STRETCH: usize = 1 << 20;
/// Bytes that Linux maps where one of them is read, by default.
#[cfg(target_os = "linux")]
const AROUND: usize = 1 << 16;

/// What is done about bytes that are not in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Nothing, nor about any behind them.
    Left,
    /// They are read from the disk, and only they and what lies behind are brought.
    Read,
}

/// The bytes of a file.
pub(crate) enum Storage {
    Map(Map),
    Joined(JoinedMap),
    Static(&'static [u8]),
    Owned(Vec<u8>),
}

impl Storage {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Storage::Map(map) => map.bytes(),
            Storage::Joined(map) => map.bytes(),
            Storage::Static(bytes) => bytes,
            Storage::Owned(bytes) => bytes,
        }
    }

    /// What the system says of each file; nothing of bytes that are in none.
    pub(crate) fn stamp(&self) -> Option<io::Result<Vec<u8>>> {
        match self {
            Storage::Map(map) => Some(map.stamp()),
            Storage::Joined(map) => Some(map.stamp()),
            Storage::Static(_) | Storage::Owned(_) => None,
        }
    }

    /// Bytes that a mapped file has lost since it was mapped.
    pub(crate) fn missing(&self) -> usize {
        match self {
            Storage::Map(map) => map.missing(),
            Storage::Joined(map) => map.missing(),
            Storage::Static(_) | Storage::Owned(_) => 0,
        }
    }

    /// Brings the pages of `range` into the map of a mapped file, as long as `goes_on` holds. They
    /// are read: `MADV_POPULATE_READ` keeps other threads from allocating. Whether it came to the
    /// end.
    #[cfg(target_os = "linux")]
    pub(crate) fn touch(
        &self,
        range: Range<usize>,
        absent: Absent,
        goes_on: impl Fn() -> bool,
    ) -> bool {
        let is_in_memory: &dyn Fn(usize) -> bool = match self {
            Storage::Map(map) => &|at| map.is_in_memory(at),
            Storage::Joined(map) => &|at| map.is_in_memory(at),
            Storage::Static(_) | Storage::Owned(_) => return true,
        };
        let (start, bytes) = (range.start, &self.bytes()[range]);
        let mut reads = false;
        for (stretch, bytes) in bytes.chunks(STRETCH).enumerate() {
            if !goes_on() || self.missing() > 0 {
                return false;
            }
            // Behind the first that is read, all are touched: that is what has the system read on.
            if !reads {
                match (is_in_memory(start + stretch * STRETCH), absent) {
                    (false, Absent::Left) => return false,
                    (true, Absent::Read) => continue,
                    (true, Absent::Left) => {}
                    (false, Absent::Read) => reads = true,
                }
            }
            for byte in bytes.iter().step_by(AROUND) {
                std::hint::black_box(*byte);
            }
        }
        true
    }

    /// Other systems bring pages as they are read.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn touch(
        &self,
        _range: Range<usize>,
        _absent: Absent,
        _goes_on: impl Fn() -> bool,
    ) -> bool {
        true
    }
}

/// A part of a file that keeps the file alive.
#[derive(Clone)]
pub(crate) struct Slice {
    pub(crate) storage: Arc<Storage>,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Slice {
    pub(crate) fn from_vec(bytes: Vec<u8>) -> Self {
        Self {
            start: 0,
            len: bytes.len(),
            storage: Arc::new(Storage::Owned(bytes)),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.storage.bytes()[self.start..self.start + self.len]
    }
}
