//! Tokenizer loading, discovery, prompt templates and token accounting.
//!
//! A [`Tokenizer`] comes out of a GGUF file, a `tokenizer.json`, or a LLaMA-3 `tokenizer.model`;
//! [`discovery`] finds the one that belongs to a model, and a [`TokenizerAuthority`] says which it
//! was. Nothing here knows what a model computes.

mod authority;
mod counter;
pub mod discovery;
mod encoding;
mod error;
mod guard;
mod load;
mod model;
mod pre_tokenizer;
pub mod registry;
mod stream;
mod tokenizer;
mod vocabulary;
mod warning;

pub use authority::{AuthorityMismatch, TokenizerAuthority};
pub use counter::Counter;
pub use encoding::Encoding;
pub use error::Error;
pub use load::LLAMA3_TOKENS;
pub use stream::StreamDecoder;
pub use tokenizer::{Encode, Special, TokenKind, Tokenizer};
pub use warning::Warning;
