//! What a format is, as data: all that readers, kernels and tests ask of one.

use super::{Encoding, Storage};

/// A weight format: its blocks, what its values are and how rows meet activations.
///
/// A tensor is rows of whole blocks, one after another, and then its [`Trailer`], if the format has
/// one. A `weight` is what [`Descriptor::dequantize`] gives, times the tensor's scale where the
/// trailer keeps one.
#[derive(Debug)]
pub struct Descriptor {
    /// The name that ggml gives the type, in upper case.
    pub name: &'static str,
    /// Weights in a block.
    pub block_len: usize,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// What follows the last block of a tensor.
    pub trailer: Option<Trailer>,
    /// Decodes blocks into as many weights, without the tensor's scale.
    pub dequantize: fn(&[u8], &mut [f32]),
    /// Which values a row can hold, and how they are packed.
    pub values: Values,
    /// The first weight, counted from the start of the blocks, whose code the format does not
    /// define. `None` where every code has a meaning.
    pub find_invalid_code: Option<FindWeight>,
    /// How weights lie on a device that runs shaders. `None` for a format that no shader reads: a
    /// device refuses it by name.
    pub storage: Option<Storage>,
    /// How a row is multiplied with activations. `None` for a format that is only read by row: an
    /// embedding's.
    pub product: Option<Product>,
}

/// Finds a weight in blocks.
pub type FindWeight = fn(&[u8]) -> Option<usize>;

/// Splits a tensor into its blocks and the scale of all its weights.
pub type Split = fn(&[u8]) -> Option<(&[u8], f32)>;

/// Reads a block as an integer for each weight, and the scale that all of them have.
pub type Unpack = fn(&[u8], &mut [i16]) -> f32;

/// What follows the last block of a tensor: a scale for all of its weights.
#[derive(Debug)]
pub struct Trailer {
    /// Bytes of it.
    pub bytes: usize,
    /// Takes a tensor apart; `None` if it is too short for a scale.
    pub split: Split,
    /// Appends a trailer with this scale.
    pub pack: fn(f32, &mut Vec<u8>),
}

/// The values that a format holds.
#[derive(Debug)]
pub enum Values {
    /// Any numbers, rounded.
    Floats {
        /// Appends a row of whole blocks.
        pack: fn(&[f32], &mut Vec<u8>),
    },
    /// -1, 0 and 1 times a scale.
    Trits {
        /// Appends a row of whole blocks whose weights have this scale, where blocks keep one.
        pack: fn(&[i8], f32, &mut Vec<u8>),
        /// Reads blocks as -1, 0 and 1.
        unpack: fn(&[u8], &mut [i8]),
    },
}

/// How a row of weights is multiplied with a row of activations.
#[derive(Debug)]
pub struct Product {
    /// What the activations must be encoded as. The references quantise them per weight format, and
    /// so must we to stay comparable.
    pub encoding: Encoding,
    /// What is added up, in which order.
    pub reduction: Reduction,
    /// Whether a model whose matrices have this format rounds its softmax weights to f16, as
    /// llama.cpp does; bitnet.cpp and transformers keep them f32.
    pub rounds_softmax_weights: bool,
}

/// The sum that a product is; see [`crate::order`].
#[derive(Debug)]
pub enum Reduction {
    /// Decoded weights times f32 activations: the dot product over the virtual SIMD lanes.
    Floats,
    /// One integer sum over the row: `sum(trit * q) / activation_scale * tensor_scale`.
    Tensor,
    /// An integer sum for each piece that has one scale on both sides, piece after piece:
    /// `sum = fma(weight_scale * activation_scale, integer, sum)`. A block of weights that meets
    /// several scales adds up `inner = fma(activation_scale, integer, inner)` first, then
    /// `sum = fma(weight_scale, inner, sum)`; such a format has no minima.
    Blocks {
        /// Reads a block as integers, and the scale that each of them has.
        unpack: Unpack,
        /// What is taken off the weights, where a format's groups have minima. After each piece,
        /// `sum = fma(-(minimum_scale * activation_scale), integer, sum)`.
        minima: Option<Unpack>,
    },
    /// As [`Reduction::Blocks`] for blocks of 32 on both sides, but with sums of four adjacent
    /// products apart in the virtual SIMD lanes, those of even blocks in the lower eight.
    BlockLanes {
        /// Reads a block as integers, and the scale that each of them has.
        unpack: Unpack,
    },
}
