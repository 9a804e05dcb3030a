//! The shape of a layer's attention, and the rotation of its queries and keys.

/// Names a rotation of a program. Layers that rotate alike share one, and with it one table of
/// cosines and sines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RotationId(pub u32);

/// Which two elements of a head are rotated together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pairing {
    /// Elements `2i` and `2i + 1`.
    Adjacent,
    /// Elements `i` and `i + dims / 2`.
    Halves,
}

/// Rotary position embedding. The angle of pair `i` at position `p` is the f32 product
/// `p * (base^(-2i / dims) / factor[i])`, both factors rounded to f32; its cosine and sine are
/// taken in f64 and rounded.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Rotated elements of a head, from its first; the rest pass through.
    pub dims: usize,
    /// `rope.freq_base`.
    pub base: f32,
    /// Which elements pair up.
    pub pairing: Pairing,
    /// Divisors of the frequencies, one per pair (`rope_freqs.weight`); empty for none.
    pub factors: Vec<f32>,
}

/// What attention looks like in one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Factor on the scores, `1 / sqrt(head_dim)`.
    pub scale: f32,
    /// The most positions that a token sees, its own included and at least 1; all up to its own
    /// where absent.
    pub window: Option<usize>,
    /// Whether softmax weights are rounded to binary16 before they meet the values, as llama.cpp
    /// does.
    pub round_weights: bool,
}
