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

/// Rotary position embedding. The angle of pair `i` at position `p` is the f32 product of `p` and
/// the pair's frequency, which is `base^(-2i / dims) / factor[i]`, scaled; its cosine and sine are
/// taken in f64 and rounded, then multiplied by the magnitude.
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
    /// The divisors of sequences of a large capacity, where they differ.
    pub long: Option<LongFactors>,
    /// How frequencies are scaled.
    pub scaling: RopeScaling,
    /// A factor on all cosines and sines, and so by its square on scores; 1 for a plain rotation.
    pub magnitude: f32,
}

impl Rope {
    /// A rotation that is not scaled.
    pub const fn plain(dims: usize, base: f32, pairing: Pairing) -> Rope {
        Rope {
            dims,
            base,
            pairing,
            factors: Vec::new(),
            long: None,
            scaling: RopeScaling::Linear { factor: 1.0 },
            magnitude: 1.0,
        }
    }
}

/// Divisors of the frequencies that take the place of [`Rope::factors`] in a sequence whose
/// capacity is above `beyond`: one choice for all of its positions.
#[derive(Clone, Debug, PartialEq)]
pub struct LongFactors {
    /// The largest capacity without them.
    pub beyond: usize,
    /// One per pair.
    pub factors: Vec<f32>,
}

/// How a rotation reaches positions beyond those that a model was first trained for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Frequencies are divided by the factor; 1 leaves them as they are.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// YaRN (<https://arxiv.org/abs/2309.00071>), as llama.cpp has it with its fixed 32 and 1
    /// turns:
    /// pairs that turn often within `context` keep their frequency, those that turn less than once
    /// have it divided by the factor, with a ramp between.
    Yarn {
        /// The divisor.
        factor: f32,
        /// Positions that the model was first trained for.
        context: usize,
    },
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
