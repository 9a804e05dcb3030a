//! The models that this project knows by name.

use std::path::{Path, PathBuf};

/// A model on the Hugging Face hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownModel {
    /// Its repository.
    pub repository: &'static str,
    /// The file in it.
    pub file: &'static str,
    /// The SHA-256 of that file, in lower-case hex.
    pub sha256: &'static str,
}

/// What a download brings if not told otherwise, and what is preferred among several.
pub const DEFAULT_MODEL: KnownModel = KnownModel {
    repository: "microsoft/bitnet-b1.58-2B-4T-gguf",
    file: "ggml-model-i2_s.gguf",
    sha256: "4221b252fdd5fd25e15847adfeb5ee88886506ba50b8a34548374492884c2162",
};

impl KnownModel {
    /// The folder that the model has in a models folder: `org-repo`.
    pub fn folder(&self, models: &Path) -> PathBuf {
        models.join(self.repository.replace('/', "-"))
    }
}
