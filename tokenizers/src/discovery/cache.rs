//! Where verified models are kept by content: `<cache>/<sha256>/model.gguf`.

use std::path::{Path, PathBuf};

/// Names another place for the cache.
pub const CACHE_DIR_VARIABLE: &str = "BITNET_MODEL_CACHE_DIR";

/// The folders of the model cache. Nothing is created by asking for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCache {
    models: PathBuf,
    lock: PathBuf,
}

impl ModelCache {
    /// `$BITNET_MODEL_CACHE_DIR`, else `~/.cache/bitnet/models`; `None` if there is no home folder
    /// either.
    pub fn from_environment() -> Option<Self> {
        match std::env::var_os(CACHE_DIR_VARIABLE).filter(|dir| !dir.is_empty()) {
            Some(dir) => Some(Self::at(dir)),
            None => {
                let root = std::env::home_dir()
                    .filter(|home| !home.as_os_str().is_empty())?
                    .join(".cache/bitnet");
                Some(Self {
                    models: root.join("models"),
                    lock: root.join(".lock"),
                })
            }
        }
    }

    /// A cache in this folder, its lock inside.
    pub fn at(models: impl Into<PathBuf>) -> Self {
        let models = models.into();
        let lock = models.join(".lock");
        Self { models, lock }
    }

    /// The folder with one folder per model.
    pub fn models(&self) -> &Path {
        &self.models
    }

    /// Held by a process that changes the cache.
    pub fn lock(&self) -> &Path {
        &self.lock
    }

    /// The model with this SHA256, in lower-case hex.
    pub fn model(&self, sha256: &str) -> PathBuf {
        self.models.join(sha256).join("model.gguf")
    }

    /// Where and when that model came from.
    pub fn metadata(&self, sha256: &str) -> PathBuf {
        self.models.join(sha256).join(".metadata.json")
    }
}
