//! Why a tokenizer could not be made or used.

use std::path::PathBuf;

use bitnet_gguf::Shown;

/// What is wrong with a tokenizer, its file, or a text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The GGUF file holds no tokenizer.
    #[error("the file holds no tokenizer")]
    Absent,
    /// A kind of tokenizer that is not read.
    #[error(
        "tokenizer model `{found}` is not supported; supported are gpt2 (byte-level BPE) and llama (SentencePiece)",
        found = Shown(found)
    )]
    UnknownModel {
        /// The value of `tokenizer.ggml.model`.
        found: String,
    },
    /// A rule for cutting text into words that is not known. To guess would give wrong tokens.
    #[error(
        "pre-tokenizer `{found}` (tokenizer.ggml.pre) is not supported; supported are {known}",
        found = Shown(found)
    )]
    UnknownPreTokenizer {
        /// The value of `tokenizer.ggml.pre`.
        found: String,
        /// Those that are.
        known: String,
    },
    /// A rule whose vocabulary merges characters where this program merges bytes.
    #[error(
        "pre-tokenizer `{found}` (tokenizer.ggml.pre) is not supported: its vocabulary merges characters, not bytes"
    )]
    CharacterMerges {
        /// The value of `tokenizer.ggml.pre`.
        found: String,
    },
    /// Metadata that is missing or of another type.
    #[error(transparent)]
    Metadata(#[from] bitnet_gguf::Error),
    /// A key of the file that wants what is not done here; in words that name it.
    #[error("{0}")]
    Key(String),
    /// The vocabulary contradicts itself.
    #[error("the vocabulary is damaged: {0}")]
    Vocabulary(String),
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no tokenizer.
    #[error("{} is no tokenizer this program knows (tokenizer.json, LLaMA-3 tokenizer.model or .gguf): {problem}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
    /// What should be a `tokenizer.json` is none, or its parts do not fit together.
    #[error("the tokenizer.json is damaged: {0}")]
    TokenizerJson(String),
    /// A GGUF file has no tokenizer, inside or beside it.
    #[error(transparent)]
    NotFound(#[from] crate::not_found::TokenizerNotFound),
    /// The text could not be encoded.
    #[error("the text could not be encoded: {0}")]
    Encode(String),
}
