//! The experts of a mixture.

/// How many experts a layer has, and how many of them a token is routed to.
///
/// The matrices of all experts are one weight, the rows of one expert after those of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Experts {
    /// Experts of the layer.
    pub count: usize,
    /// Those that a token is routed to, at least one.
    pub used: usize,
}

impl Experts {
    /// Whether a token can be routed to so many.
    pub(super) const fn are_some(self) -> bool {
        1 <= self.used && self.used <= self.count
    }
}
