//! What a row of the table says.

use bitnet_kernels::program::{Activation, Pairing};

/// A graph: a stack of layers between an embedding and an output head, each of attention and a
/// gated feed-forward network with an RMS norm before either.
#[derive(Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The values of `general.architecture` that mean it. Metadata keys have the one that the file
    /// uses as their prefix.
    pub names: &'static [&'static str],
    /// The gate's activation function.
    pub activation: Activation,
    /// Which elements the rotation pairs.
    pub pairing: Pairing,
    /// What layers are, in a pattern that repeats: layer `i` is `layers[i % layers.len()]`.
    pub layers: &'static [Layer],
}

impl Architecture {
    /// What layer `index` is.
    pub fn layer(&self, index: usize) -> &Layer {
        &self.layers[index % self.layers.len()]
    }
}

/// A kind of layer.
#[derive(Debug, PartialEq, Eq)]
pub struct Layer {
    /// Whether queries and keys are rotated.
    pub rotated: bool,
    /// Whether a token sees only the last positions, as many as `attention.sliding_window` says.
    pub windowed: bool,
    /// Whether each head of queries and keys is normalised before the rotation (`attn_q_norm`,
    /// `attn_k_norm`).
    pub head_norms: bool,
    /// Whether the results of attention and of the gate are normalised before their last matrix
    /// (`attn_sub_norm`, `ffn_sub_norm`).
    pub sub_norms: bool,
}

impl Layer {
    /// A layer of LLaMA.
    pub const PLAIN: Layer = Layer {
        rotated: true,
        windowed: false,
        head_norms: false,
        sub_norms: false,
    };
}
