//! Where verified models are kept by content: `<cache>/<sha256>/model.gguf`.

use std::path::{Path, PathBuf};

/// The environment variable that names another place for the cache, for the programs that read it.
pub const CACHE_DIR_VARIABLE: &str = "BITNET_MODEL_CACHE_DIR";

/// The folders of the model cache. Nothing is created by asking for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCache {
    models: PathBuf,
    lock: PathBuf,
}

impl ModelCache {
    /// The cache of a user: in `folder` if one is named, else in `.cache/bitnet/models` of their
    /// `home`; `None` if there is neither.
    pub fn of_user(folder: Option<PathBuf>, home: Option<PathBuf>) -> Option<Self> {
        let named = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        match named(folder) {
            Some(folder) => Some(Self::at(folder)),
            None => {
                let root = named(home)?.join(".cache/bitnet");
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::ModelCache;

    #[test]
    fn a_folder_that_is_named_comes_before_the_home_and_an_empty_name_is_none() {
        let of_user =
            |folder: &str, home: &str| ModelCache::of_user(Some(folder.into()), Some(home.into()));
        let named = of_user("/c", "/home/u").expect("a cache");
        assert_eq!(named, ModelCache::at("/c"));
        let at_home = of_user("", "/home/u").expect("a cache");
        assert_eq!(at_home.models(), Path::new("/home/u/.cache/bitnet/models"));
        assert_eq!(at_home.lock(), Path::new("/home/u/.cache/bitnet/.lock"));
        assert_eq!(of_user("", ""), None);
        assert_eq!(ModelCache::of_user(None, None), None);
    }
}
