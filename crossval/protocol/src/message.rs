//! What the two sides say to each other.

use serde::{Deserialize, Serialize};

/// One request, one JSON line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Request {
    /// Who are you? Answered with [`Reply::Hello`].
    Hello,
    /// Open a model file, in place of the one that is open. Answered with [`Reply::Loaded`].
    Load(LoadRequest),
    /// Turn text into token ids. Answered with [`Reply::Tokens`].
    Tokenize(TokenizeRequest),
    /// Run tokens through the model. Answered with [`Reply::Evaluated`] and its floats.
    Evaluate(EvaluateRequest),
    /// Close the open model. Answered with [`Reply::Unloaded`].
    Unload,
}

/// The element type of the key/value cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvType {
    /// Half precision, the default of both references.
    F16,
    /// Single precision.
    F32,
}

/// Which attention kernel the reference shall use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// Explicit softmax over explicit scores.
    Plain,
    /// The fused ("flash") kernel.
    Flash,
}

/// How to open a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRequest {
    /// The GGUF file.
    pub path: std::path::PathBuf,
    /// Threads to compute with.
    pub threads: u32,
    /// The longest sequence, in tokens, that will be evaluated.
    pub context: u32,
    /// Element type of the key/value cache.
    pub kv: KvType,
    /// Attention kernel.
    pub attention: Attention,
}

/// How to tokenize.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizeRequest {
    /// The text.
    pub text: String,
    /// Add the tokens that the model wants around a text (BOS).
    pub add_special: bool,
    /// Read the spelling of a control token in the text as that token.
    pub parse_special: bool,
}

/// How the prompt enters the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feed {
    /// As many tokens per step as the reference takes at once.
    Batch,
    /// One token per step.
    Single,
}

/// What to evaluate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluateRequest {
    /// The prompt, as token ids.
    pub tokens: Vec<i32>,
    /// How the prompt is fed.
    pub feed: Feed,
    /// How many tokens to choose greedily afterwards, each fed back alone.
    pub greedy: u32,
    /// Also return the residual stream after each layer, at each position.
    pub layers: bool,
}

/// One answer, one JSON line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// What came out.
    pub result: Result<Reply, LaneError>,
    /// How many little-endian `f32` values follow this line.
    pub floats: usize,
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Reply {
    /// To [`Request::Hello`].
    Hello(Hello),
    /// To [`Request::Load`].
    Loaded(ModelInfo),
    /// To [`Request::Tokenize`].
    Tokens {
        /// The ids.
        tokens: Vec<i32>,
    },
    /// To [`Request::Evaluate`].
    Evaluated(Evaluation),
    /// To [`Request::Unload`].
    Unloaded,
}

/// Who a lane is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION) of the lane.
    pub protocol: u32,
    /// The lane's name: `bitnet-cpp` or `llama-cpp`.
    pub lane: String,
    /// The reference and its version, for people and receipts.
    pub reference: String,
    /// What the lane was built from, as given at build time.
    pub fingerprint: String,
    /// The instruction sets that the reference was compiled for, in its own words.
    pub system: String,
    /// Whether the reference has a flash attention kernel for the CPU that is worth comparing.
    pub flash_attention: bool,
}

/// An open model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The reference's own one-line description.
    pub description: String,
    /// Tokens in the vocabulary: the length of a row of logits.
    pub vocabulary: usize,
    /// Transformer layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Context length that the model was trained for.
    pub context: u32,
    /// Whether the file carries a tokenizer that the reference can use.
    pub tokenizer: bool,
    /// Milliseconds that loading took.
    pub load_ms: f64,
}

/// The shape of what follows, and what was chosen.
///
/// The floats are `rows * vocabulary` logits (one row after each token fed:
/// first the prompt, then the greedy tokens) and then, when layers were asked
/// for, `layers * rows * hidden` values of the residual stream, layer by layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Positions evaluated.
    pub rows: usize,
    /// Length of a row of logits.
    pub vocabulary: usize,
    /// Layers returned, 0 when not asked for.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// The tokens chosen greedily, in order.
    pub greedy: Vec<i32>,
    /// Milliseconds for the prompt.
    pub prefill_ms: f64,
    /// Milliseconds for the greedy tokens.
    pub decode_ms: f64,
}

/// What kind of thing went wrong in a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request makes no sense, or comes at the wrong time.
    BadRequest,
    /// The reference cannot read this file.
    CannotRead,
    /// The model carries no tokenizer.
    NoTokenizer,
    /// The reference failed while it computed.
    Failed,
}

/// A lane's refusal, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct LaneError {
    /// What kind of thing went wrong.
    pub kind: ErrorKind,
    /// What was tried and what was found.
    pub message: String,
}

impl LaneError {
    /// A request that makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::BadRequest,
            message: message.into(),
        }
    }

    /// A file that the reference cannot read.
    pub fn cannot_read(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::CannotRead,
            message: message.into(),
        }
    }

    /// A model without a tokenizer.
    pub fn no_tokenizer(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::NoTokenizer,
            message: message.into(),
        }
    }

    /// A computation that failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Failed,
            message: message.into(),
        }
    }
}
