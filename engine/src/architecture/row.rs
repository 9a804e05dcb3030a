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
    /// Whether `rope.dimension_sections` says which pairs are turned.
    pub sections: bool,
    /// Whether `rope.scaling.alpha` makes the base of the rotation larger.
    pub alpha: bool,
    /// Whether the embedding, what layers add to the residual stream and the logits are scaled
    /// (`embedding_scale`, `residual_scale`, `logit_scale`).
    pub scales: bool,
    /// What layers are, in a pattern that repeats: layer `i` is `layers[i % layers.len()]`.
    pub layers: &'static [Layer],
    /// A key whose array chooses instead, where the file and not the architecture says what each
    /// layer is: `layers[0]` where it is true, `layers[1]` where it is false.
    pub pattern: Option<&'static str>,
    /// A key that does so where there is no such array, and its default: one layer in so many is
    /// `layers[1]`.
    pub interval: Option<(&'static str, usize)>,
    /// Keys that every converter writes. A model without one runs on what llama.cpp takes instead,
    /// and that is said.
    pub expected: &'static [&'static str],
    /// Whether the last blocks may be a draft head (`nextn_predict_layers`), which is left aside.
    pub draft_head: bool,
}

impl Architecture {
    /// LLaMA's, but for its name.
    pub const PLAIN: Architecture = Architecture {
        names: &[],
        activation: Activation::Silu,
        pairing: Pairing::Adjacent,
        sections: false,
        alpha: false,
        scales: false,
        layers: &[Layer::PLAIN],
        pattern: None,
        interval: None,
        expected: &[],
        draft_head: false,
    };
}

/// A kind of layer.
#[derive(Debug, PartialEq, Eq)]
pub struct Layer {
    /// What tokens learn of one another by.
    pub mixer: Mixer,
    /// Whether the result of attention has a gate, whose rows lie in `attn_q` behind those of each
    /// head's queries.
    pub gated: bool,
    /// Whether queries and keys are rotated.
    pub rotated: bool,
    /// Whether a token sees only the last positions, as many as `attention.sliding_window` says.
    pub windowed: bool,
    /// Whether each head of queries and keys is normalised (`attn_q_norm`, `attn_k_norm`), and
    /// when.
    pub head_norms: Option<HeadNorms>,
    /// Whether the results of attention and of the gate are normalised before their last matrix
    /// (`attn_sub_norm`, `ffn_sub_norm`).
    pub sub_norms: bool,
    /// Whether the feed-forward network is a mixture of experts (`ffn_gate_inp`, `ffn_gate_exps`,
    /// `ffn_up_exps`, `ffn_down_exps`).
    pub experts: bool,
    /// The norm before the feed-forward network.
    pub ffn_norm: &'static str,
}

/// When heads of queries and keys are normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadNorms {
    /// Before they are rotated.
    BeforeRotation,
    /// After.
    AfterRotation,
}

/// What tokens of a sequence learn of one another by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mixer {
    /// Attention to keys and values.
    Attention,
    /// A convolution and a gated delta rule, which keep a state.
    DeltaNet,
}

impl Layer {
    /// A layer of LLaMA.
    pub const PLAIN: Layer = Layer {
        mixer: Mixer::Attention,
        gated: false,
        rotated: true,
        windowed: false,
        head_norms: None,
        sub_norms: false,
        ffn_norm: "ffn_norm",
        experts: false,
    };
}
