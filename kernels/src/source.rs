//! [`WeightSource`]: where the bytes of weights come from.

use std::ops::Range;
use std::sync::Arc;

use bitnet_gguf::Gguf;

/// Where the bytes of weights come from: one region of memory with named parts.
pub trait WeightSource: Send + Sync {
    /// The region. It does not move or change while the source lives.
    fn bytes(&self) -> &[u8];

    /// The part of the region that a tensor takes, or `None` when there is no such tensor.
    fn find(&self, name: &str) -> Option<Range<usize>>;

    /// Copies the bytes from `start` of the region on: for a few of a part that is seldom read,
    /// without bringing it into memory where the source can.
    fn copy(&self, start: usize, into: &mut [u8]) {
        into.copy_from_slice(&self.bytes()[start..start + into.len()]);
    }

    /// Tells that a part will seldom be read from now on, so that the memory it occupies may be
    /// used otherwise. It stays readable.
    fn release(&self, _part: Range<usize>) {}
}

impl WeightSource for Gguf {
    fn bytes(&self) -> &[u8] {
        Gguf::bytes(self)
    }

    fn find(&self, name: &str) -> Option<Range<usize>> {
        self.tensor(name)?.range().ok()
    }

    fn copy(&self, start: usize, into: &mut [u8]) {
        if Gguf::copy(self, start, into).is_err() {
            into.copy_from_slice(&self.bytes()[start..start + into.len()]);
        }
    }

    fn release(&self, part: Range<usize>) {
        // Only advice: a system that does not take it keeps the memory.
        let _ = self.advise_dont_need(part);
    }
}

/// Weights shared by everyone who reads them.
pub type SharedWeights = Arc<dyn WeightSource>;
