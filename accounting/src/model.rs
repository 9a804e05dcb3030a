//! What is known of a model: who offers it, what its tokens are, and how exact a count is.

use std::path::PathBuf;

use serde::Serialize;

use crate::encoding::Encoding;

/// Who offers a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// OpenAI.
    Openai,
    /// Meta.
    Meta,
    /// Microsoft.
    Microsoft,
    /// Mistral AI.
    Mistral,
    /// Anthropic.
    Anthropic,
    /// Google.
    Google,
    /// DeepSeek.
    Deepseek,
    /// Alibaba's Qwen.
    Qwen,
    /// Anyone else.
    Generic,
}

impl Provider {
    /// Those with a name of their own.
    pub(crate) const NAMED: [Provider; 8] = [
        Provider::Openai,
        Provider::Meta,
        Provider::Microsoft,
        Provider::Mistral,
        Provider::Anthropic,
        Provider::Google,
        Provider::Deepseek,
        Provider::Qwen,
    ];

    /// Its name before the `/` of a model's.
    pub const fn name(self) -> &'static str {
        match self {
            Provider::Openai => "openai",
            Provider::Meta => "meta",
            Provider::Microsoft => "microsoft",
            Provider::Mistral => "mistral",
            Provider::Anthropic => "anthropic",
            Provider::Google => "google",
            Provider::Deepseek => "deepseek",
            Provider::Qwen => "qwen",
            Provider::Generic => "generic",
        }
    }
}

/// Models with the same, or nearly the same, tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `o200k_base`, `o200k_harmony`.
    OpenaiO200k,
    /// `cl100k_base`.
    OpenaiCl100k,
    /// `p50k_base`.
    OpenaiP50k,
    /// `r50k_base`.
    OpenaiR50k,
    /// LLaMA-3: the first 100,000 tokens of `cl100k_base`, and 28,000 more.
    Llama3,
    /// A tokenizer given by its file.
    File,
    /// Not known.
    Unknown,
}

/// How far a count can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Accuracy {
    /// The model's own tokens: the encoding is its own, and tests hold it to the reference.
    Exact,
    /// The encoding of a near relative.
    Family,
    /// A guess from the number of characters.
    Heuristic,
}

impl Accuracy {
    /// The label in output.
    pub const fn name(self) -> &'static str {
        match self {
            Accuracy::Exact => "exact",
            Accuracy::Family => "family",
            Accuracy::Heuristic => "heuristic",
        }
    }
}

/// What texts are encoded with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EncodingSpec {
    /// One that is built in.
    Embedded(Encoding),
    /// A `tokenizer.json`, a `tokenizer.model` or a GGUF file.
    File(PathBuf),
}

/// A model, as far as its tokens go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSpec {
    /// Who offers it.
    pub provider: Provider,
    /// The name under which it is priced: `openai/gpt-4o`.
    pub canonical: String,
    /// The name for people: `gpt-4o`.
    pub display: String,
    /// What its texts are encoded with; none where tokens are estimated.
    pub encoding: Option<EncodingSpec>,
    /// Its tokenizer's family.
    pub family: Family,
    /// How far counts can be trusted.
    pub accuracy: Accuracy,
    /// Whether the built-in price list has it.
    pub has_pricing: bool,
}

impl ModelSpec {
    /// The encoding's name in output; `heuristic` where there is none.
    pub fn encoding_name(&self) -> &str {
        match &self.encoding {
            Some(EncodingSpec::Embedded(encoding)) => encoding.name(),
            Some(EncodingSpec::File(_)) if self.family == Family::Llama3 => "llama3",
            Some(EncodingSpec::File(path)) => path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or("file"),
            None => "heuristic",
        }
    }
}

/// What LLaMA-3 is counted by where its own file is missing.
pub(crate) const LLAMA3_RELATIVE: EncodingSpec = EncodingSpec::Embedded(Encoding::Cl100kBase);
