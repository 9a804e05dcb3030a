//! Tokenizers from files: a GGUF file, a `tokenizer.json`, or a LLaMA-3 `tokenizer.model`.

mod gguf;
mod tiktoken;
mod tokenizer_json;

use std::path::Path;

use bitnet_gguf::Gguf;

pub use tiktoken::LLAMA3_TOKENS;

use crate::{Error, Tokenizer};

impl Tokenizer {
    /// The tokenizer inside a GGUF file.
    ///
    /// # Errors
    /// [`Error::Absent`] where there is none; else what is wrong with it.
    pub fn from_gguf(file: &Gguf) -> Result<Tokenizer, Error> {
        gguf::read(file)
    }

    /// The tokenizer in a file: a `tokenizer.json`, a LLaMA-3 `tokenizer.model` or a GGUF file,
    /// told by content.
    ///
    /// # Errors
    /// The file cannot be read, or holds none of these.
    pub fn from_file(path: &Path) -> Result<Tokenizer, Error> {
        let content = std::fs::read(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let wrong = |problem: String| Error::Format {
            path: path.to_owned(),
            problem,
        };
        if content.starts_with(&bitnet_gguf::MAGIC) {
            return Tokenizer::from_gguf(&Gguf::open(path)?);
        }
        if content.trim_ascii_start().starts_with(b"{") {
            return tokenizer_json::read(&content).map_err(wrong);
        }
        if tiktoken::recognises(&content) {
            return tiktoken::read(&content).map_err(wrong);
        }
        Err(wrong("it begins like neither".to_owned()))
    }
}
