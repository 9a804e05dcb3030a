//! How weights of each format lie on a device that runs shaders.

/// What rows of weights become on a device; a shader reads one of these. Scales lie apart, as f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// Numbers as they lie in the file.
    Floats,
    /// Ternary codes in the order of `I2_S`: 128 weights in 32 bytes. One scale for the tensor.
    Trits,
    /// The same with a scale per 256.
    ScaledTrits,
    /// Codes of two bits, sixteen to a word: that of weight `4 l + b` in byte `b`, from bit `6 - 2
    /// l` on. A weight is its scale times (code - 1).
    Codes,
    /// Signed bytes with a scale per 32.
    Bytes,
    /// Signed bytes in the order of `Q8K` activations, with a scale and sixteen sub-scales per 256.
    SubScaledBytes,
    /// Unsigned bytes in that order, with two scales, eight sub-scales and eight minima per 256.
    BytesWithMinima,
}
