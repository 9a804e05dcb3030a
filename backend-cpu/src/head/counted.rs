//! What searches read and make, counted.

use std::ops::AddAssign;

/// What searches read and make.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    /// Rows that got a bound from the high bits of their codes.
    pub(super) coarse: usize,
    /// Of these, those that got another from all bits.
    pub(super) refined: usize,
    /// Rows that got a bound from all bits at once.
    pub(super) dense: usize,
    /// Rows that got one from all bits and from both bytes of activations, where one byte had not
    /// ruled them out.
    pub(super) closer: usize,
    /// Logits computed one by one.
    pub(super) exact: usize,
    /// Rows of the screen that were copied from another process's.
    pub(super) copied: usize,
}

impl AddAssign for Counted {
    fn add_assign(&mut self, other: Counted) {
        self.coarse += other.coarse;
        self.refined += other.refined;
        self.dense += other.dense;
        self.closer += other.closer;
        self.exact += other.exact;
        self.copied += other.copied;
    }
}
