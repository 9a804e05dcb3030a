//! Tokenizers from files: a GGUF file, a `tokenizer.json`, or a LLaMA-3 `tokenizer.model`.

mod gguf;
mod tiktoken;
mod tokenizer_json;

use std::io::{self, Read};
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

    /// The tokenizer that the content of a `tokenizer.json` describes.
    ///
    /// # Errors
    /// [`Error::TokenizerJson`]: it is none, or its parts do not fit together.
    pub fn from_tokenizer_json(content: &[u8]) -> Result<Tokenizer, Error> {
        tokenizer_json::read(content).map_err(Error::TokenizerJson)
    }

    /// The tokenizer in a file: a `tokenizer.json`, a LLaMA-3 `tokenizer.model` or a GGUF file,
    /// told by content. A GGUF file is mapped; only its metadata is read.
    ///
    /// # Errors
    /// The file cannot be read, or holds none of these.
    pub fn from_file(path: &Path) -> Result<Tokenizer, Error> {
        let unreadable = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let wrong = |problem: String| Error::Format {
            path: path.to_owned(),
            problem,
        };
        let mut file = bitnet_files::open(path).map_err(unreadable)?;
        let size = file.metadata().map_or(0, |about| about.len());
        let mut content = Vec::new();
        let mut more = |most: u64, content: &mut Vec<u8>| -> Result<(), Error> {
            let read = io::Read::by_ref(&mut file).take(most).read_to_end(content);
            read.map(|_| ()).map_err(unreadable)
        };
        more(bitnet_gguf::MAGIC.len() as u64, &mut content)?;
        if content.starts_with(&bitnet_gguf::MAGIC) {
            return Tokenizer::from_gguf(&Gguf::open(path)?);
        }
        content.reserve_exact(size.min(MOST_BYTES) as usize + 1);
        more(MOST_BYTES, &mut content)?;
        if content.len() as u64 > MOST_BYTES {
            return Err(wrong(format!("it is larger than {MOST_BYTES} bytes")));
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

/// More than any tokenizer takes; the largest known has some 40 MB.
const MOST_BYTES: u64 = 512 << 20;
