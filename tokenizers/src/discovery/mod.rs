//! Finding what a user did not name: the tokenizer of a model, and a model to run.
//!
//! Looks at files and reads metadata; never touches the network, never makes anything up, and loads
//! a tokenizer only where it is told to. What
//! is missing is an error that says what to run.

mod cache;
mod model;
mod tokenizer;

pub use cache::{CACHE_DIR_VARIABLE, ModelCache};
pub use model::{DEFAULT_MODEL, KnownModel, ModelDiscovery, ModelNotFound, ModelSource};
pub use tokenizer::{
    Embedded, Searched, Seen, TokenizerDiscovery, TokenizerNotFound, TokenizerSource,
};
