//! Which kernels really ran.

use std::collections::BTreeMap;

/// Counts kernels by name. A backend notes each kernel that it starts; whoever wants proof of what
/// ran reads the counts afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelRecorder {
    counts: BTreeMap<&'static str, u64>,
}

impl KernelRecorder {
    /// Notes that `kernel` ran once more.
    pub fn note(&mut self, kernel: &'static str) {
        *self.counts.entry(kernel).or_default() += 1;
    }

    /// Kernels and how often each ran, by name.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(name, count)| (*name, *count))
    }

    /// Takes over what another has noted.
    pub(crate) fn absorb(&mut self, other: &mut KernelRecorder) {
        for (kernel, count) in std::mem::take(&mut other.counts) {
            *self.counts.entry(kernel).or_default() += count;
        }
    }

    /// Forgets everything noted so far.
    pub fn clear(&mut self) {
        self.counts.clear();
    }
}
