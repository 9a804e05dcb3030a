//! Where a file's bytes live: in a memory map of one file or of several, in the program itself, or
//! in a buffer.

use std::io;
use std::sync::Arc;

use crate::map::{JoinedMap, Map};

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
