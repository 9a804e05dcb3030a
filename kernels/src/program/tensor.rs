//! What a program computes on: buffers of activations, weights, and the products of the two.

use crate::format::{Encoding, Format};

/// Names a buffer of activations of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// Names a weight of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WeightId(pub u32);

/// How many rows a buffer has in a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// One per token of the batch.
    Batch,
    /// One per token whose logits are wanted.
    Selected,
    /// One per token of the batch and expert that it is routed to, those of a token one after
    /// another.
    Routed {
        /// Experts that a token is routed to.
        experts: usize,
    },
}

/// A buffer of activations: `rows x width` in an encoding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BufferDesc {
    /// For people: `h`, `q`, `ffn`, ...
    pub name: &'static str,
    /// Values in a row.
    pub width: usize,
    /// How they are stored.
    pub encoding: Encoding,
    /// How many rows there are.
    pub rows: Rows,
}

/// A weight: a matrix of `rows x cols`, or a vector where `rows` is 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightDesc {
    /// The tensor's name in the file.
    pub name: String,
    /// How its bytes are to be read.
    pub format: Format,
    /// Outputs of the matrix.
    pub rows: usize,
    /// Inputs of the matrix, adjacent in memory.
    pub cols: usize,
}

/// One matrix product: `weight . x`, times `scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    /// Encoded activations, in the encoding of the weight's format.
    pub x: BufferId,
    /// The matrix.
    pub weight: WeightId,
    /// A factor on the result beside the weight's own scale; 1 leaves the result as it is.
    pub scale: f32,
}

/// A gate's activation function: a property of the architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `max(x, 0)^2`.
    Relu2,
}
