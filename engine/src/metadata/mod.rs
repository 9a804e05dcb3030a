//! What becomes of each key of a model file.
//!
//! Metadata is accounted for as tensors are. A graph takes the keys that it needs, through `keys`;
//! of all others the tables say what they mean where nobody reads them: `model` for those under the
//! architecture's prefix, `file` for the rest, and [`bitnet_tokenizers::keys`] for the tokenizer's.
//! A key that would change results stops the file, by its name; one that no table has is a doubt.

mod file;
mod keys;
mod listing;
mod model;

use bitnet_gguf::keys::Fate;

pub(crate) use keys::Keys;
pub use listing::{account, doubts};

/// A key of a file, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAccount {
    /// The key.
    pub key: String,
    /// What becomes of it.
    pub fate: Fate,
}
