//! Tokenizer loading, discovery, counting and prompt templates.
//!
//! A [`Tokenizer`] comes out of a GGUF file, a `tokenizer.json`, or a LLaMA-3 `tokenizer.model`;
//! [`discovery`] finds the one that belongs to a model, and a [`TokenizerAuthority`] says which it
//! was. Nothing here knows what a model computes.

mod authority;
mod counter;
pub mod discovery;
mod error;
mod guard;
pub mod keys;
mod load;
mod model;
mod not_found;
mod pre_tokenizer;
mod stream;
mod tokenizer;
mod vocabulary;
mod warning;

pub use authority::{AuthorityMismatch, TokenizerAuthority};
pub use counter::Counter;
pub use error::Error;
pub use load::LLAMA3_TOKENS;
pub use stream::StreamDecoder;
pub use tokenizer::{Encode, Special, TokenKind, Tokenizer, WordRule};
pub use warning::Warning;
