//! Tokenizer loading, discovery and token accounting.

pub mod discovery;
