//! Tokenizer loading, discovery and token accounting.
