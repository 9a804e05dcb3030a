//! A model to run: the one named, else one in `models/`, else one in the cache, else the one that
//! ships.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cache::ModelCache;
use crate::known_model::DEFAULT_MODEL;

/// Which model is taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// Named by the user.
    Explicit(PathBuf),
    /// Found in the models folder, among `of` models there.
    Folder {
        /// The file.
        path: PathBuf,
        /// How many there were to choose from.
        of: usize,
    },
    /// Found in the cache, among `of` models there.
    Cache {
        /// The file.
        path: PathBuf,
        /// How many there were to choose from.
        of: usize,
    },
    /// There is none on disk: the one built into the program.
    Shipped,
}

impl ModelSource {
    /// The file to open; `None` for the model that ships.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Explicit(path) | Self::Folder { path, .. } | Self::Cache { path, .. } => {
                Some(path)
            }
            Self::Shipped => None,
        }
    }
}

/// The line that tells the user which model was taken.
impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choice = |of: usize| {
            if of > 1 {
                format!(", one of {of}; choose with --model")
            } else {
                String::new()
            }
        };
        match self {
            Self::Explicit(path) => write!(f, "{} (given with --model)", path.display()),
            Self::Folder { path, of } => write!(f, "{} (found in the models folder{})", path.display(), choice(*of)),
            Self::Cache { path, of } => write!(f, "{} (found in the model cache{})", path.display(), choice(*of)),
            Self::Shipped => f.write_str(
                "the small demo model that ships with this program (no model in models/ or the cache; \
                 get the 2B model with: cargo xtask download-model)",
            ),
        }
    }
}

/// The model the user named is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "Model not found: {path}\n\n\
     Solution:\n  \
     1. Check the path given with --model\n  \
     2. Download the 2B model:\n     \
     cargo xtask download-model\n  \
     3. Leave --model out to use what is in models/ or the cache, else the model that ships",
    path = path.display()
)]
pub struct ModelNotFound {
    /// As given.
    pub path: PathBuf,
}

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelDiscovery {
    folder: PathBuf,
    cache: Option<ModelCache>,
}

impl ModelDiscovery {
    /// In this folder, then in this cache.
    pub fn new(folder: impl Into<PathBuf>, cache: Option<ModelCache>) -> Self {
        Self {
            folder: folder.into(),
            cache,
        }
    }

    /// Choose a model. `explicit` is the user's `--model`, which ends the search either way. Among
    /// several the [`DEFAULT_MODEL`] is preferred, then the first by path.
    ///
    /// # Errors
    /// The model the user named is not a file.
    pub fn discover(&self, explicit: Option<&Path>) -> Result<ModelSource, ModelNotFound> {
        if let Some(path) = explicit {
            return match path.is_file() {
                true => Ok(ModelSource::Explicit(path.to_owned())),
                false => Err(ModelNotFound {
                    path: path.to_owned(),
                }),
            };
        }
        let here = models_in(&self.folder);
        log::debug!("models in {}: {}", self.folder.display(), here.len());
        if let Some(path) = preferred(&here) {
            return Ok(ModelSource::Folder {
                path,
                of: here.len(),
            });
        }
        let cached = self
            .cache
            .as_ref()
            .map(|cache| models_in(cache.models()))
            .unwrap_or_default();
        log::debug!("models in the cache: {}", cached.len());
        Ok(match preferred(&cached) {
            Some(path) => ModelSource::Cache {
                path,
                of: cached.len(),
            },
            None => ModelSource::Shipped,
        })
    }

    /// Every model in the folder, then every model in the cache.
    pub fn models(&self) -> Vec<PathBuf> {
        let mut found = models_in(&self.folder);
        found.extend(
            self.cache
                .iter()
                .flat_map(|cache| models_in(cache.models())),
        );
        found
    }

    /// The file with LLaMA-3's tokenizer, if there is one: on its own, or inside the 2B model.
    pub fn llama3_tokenizer(&self) -> Option<PathBuf> {
        let folder = DEFAULT_MODEL.folder(&self.folder);
        let cached = self
            .cache
            .as_ref()
            .map(|cache| cache.model(DEFAULT_MODEL.sha256));
        let beside = cached
            .as_ref()
            .map(|model| model.with_file_name("tokenizer.json"));
        [
            Some(self.folder.join("tokenizer.json")),
            Some(self.folder.join("tokenizer.model")),
            Some(folder.join("tokenizer.json")),
            Some(folder.join(DEFAULT_MODEL.file)),
            beside,
            cached,
        ]
        .into_iter()
        .flatten()
        .find(|path| path.is_file())
    }
}

/// Every `.gguf` in a folder and the folders in it, by path. What cannot be read holds none.
fn models_in(folder: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let mut found: Vec<_> = entries(folder)
        .into_iter()
        .flat_map(|path| {
            if path.is_dir() {
                entries(&path)
            } else {
                vec![path]
            }
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "gguf") && path.is_file())
        .collect();
    found.sort();
    found
}

fn preferred(models: &[PathBuf]) -> Option<PathBuf> {
    let folder_names = [
        DEFAULT_MODEL.repository.replace('/', "-"),
        DEFAULT_MODEL.sha256.to_owned(),
    ];
    let in_its_folder = |path: &&PathBuf| {
        path.parent()
            .and_then(Path::file_name)
            .is_some_and(|name| folder_names.iter().any(|known| name == known.as_str()))
    };
    models
        .iter()
        .find(in_its_folder)
        .or(models.first())
        .cloned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{DEFAULT_MODEL, ModelCache, ModelDiscovery, ModelSource};

    fn put(path: PathBuf) -> PathBuf {
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(&path, "x").expect("written");
        path
    }

    #[test]
    fn the_order_is_explicit_folder_cache_shipped_and_the_choice_is_said() {
        let root = tempfile::tempdir().expect("a folder");
        let cache = ModelCache::at(root.path().join("cache"));
        let discovery = ModelDiscovery::new(root.path().join("models"), Some(cache.clone()));
        let discover = || discovery.discover(None).expect("no path was named");

        assert_eq!(discover(), ModelSource::Shipped);
        assert!(
            discover()
                .to_string()
                .contains("cargo xtask download-model")
        );
        let cached = put(cache.model(DEFAULT_MODEL.sha256));
        assert_eq!(
            discover(),
            ModelSource::Cache {
                path: cached,
                of: 1
            }
        );
        let small = put(root.path().join("models/a.gguf"));
        assert_eq!(discover(), ModelSource::Folder { path: small, of: 1 });
        let known = put(root
            .path()
            .join("models/microsoft-bitnet-b1.58-2B-4T-gguf/ggml-model-i2_s.gguf"));
        assert_eq!(
            discover(),
            ModelSource::Folder {
                path: known.clone(),
                of: 2
            }
        );
        assert!(
            discover()
                .to_string()
                .contains("one of 2; choose with --model")
        );
        assert_eq!(
            discovery.discover(Some(&known)),
            Ok(ModelSource::Explicit(known))
        );
    }

    #[test]
    fn the_tokenizer_of_llama3_is_found_on_its_own_and_in_the_model() {
        let root = tempfile::tempdir().expect("a folder");
        let cache = ModelCache::at(root.path().join("cache"));
        let models = root.path().join("models");
        let discovery = ModelDiscovery::new(&models, Some(cache.clone()));
        assert_eq!(discovery.llama3_tokenizer(), None);
        let cached = put(cache.model(DEFAULT_MODEL.sha256));
        assert_eq!(discovery.llama3_tokenizer(), Some(cached));
        let beside = put(models.join("tokenizer.json"));
        assert_eq!(discovery.llama3_tokenizer(), Some(beside));
    }

    #[test]
    fn parts_of_downloads_and_folders_are_not_models() {
        let root = tempfile::tempdir().expect("a folder");
        let discovery = ModelDiscovery::new(root.path().join("models"), None);
        put(root.path().join("models/m/model.gguf.part"));
        fs::create_dir_all(root.path().join("models/m/folder.gguf")).expect("created");
        assert_eq!(discovery.discover(None), Ok(ModelSource::Shipped));
    }

    #[test]
    fn a_model_that_was_named_is_never_replaced_by_another() {
        let root = tempfile::tempdir().expect("a folder");
        put(root.path().join("models/a.gguf"));
        let discovery = ModelDiscovery::new(root.path().join("models"), None);
        let error = discovery
            .discover(Some(Path::new("nowhere.gguf")))
            .expect_err("not there");
        assert!(
            error.to_string().contains("nowhere.gguf")
                && error.to_string().contains("download-model"),
            "{error}"
        );
    }
}
