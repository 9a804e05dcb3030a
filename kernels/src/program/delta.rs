//! The shape of a layer's gated delta rule.

/// What the gated delta rule looks like in one layer. Keys and values of a head are equally long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeltaShape {
    /// Heads of values, each with a state of `size x size`.
    pub heads: usize,
    /// Heads of queries and of keys; divides `heads`. Head `r` of values uses head `r % key_heads`.
    pub key_heads: usize,
    /// Elements of a head.
    pub size: usize,
    /// Added to the sum of squares that queries and keys are divided by the root of.
    pub eps: f32,
}

impl DeltaShape {
    /// Queries, keys and values of a token.
    pub const fn inputs(&self) -> usize {
        (2 * self.key_heads + self.heads) * self.size
    }

    /// Results of a token.
    pub const fn outputs(&self) -> usize {
        self.heads * self.size
    }

    /// Values that a sequence keeps.
    pub const fn state(&self) -> usize {
        self.heads * self.size * self.size
    }
}
