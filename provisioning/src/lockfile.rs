//! `crossval-models.lock.json`: which models validation uses, pinned by hash.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use bitnet_files::Sha256Hex;

use crate::download::{HubFile, HubFileError, Origin, Source};

/// The lockfile's name, at the root of the workspace.
pub const LOCKFILE: &str = "crossval-models.lock.json";

const SCHEMA: &str = "1.";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelLock {
    /// Version of the format; this program reads 1.x.
    pub schema_version: String,
    /// One entry per model.
    pub models: Vec<LockedModel>,
    /// When the file was last changed, RFC 3339.
    pub updated: String,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedModel {
    /// Short name for messages.
    pub name: String,
    /// What it is for.
    pub tier: Tier,
    /// An http(s) address, or a path relative to the lockfile for a model in the repository.
    pub url: String,
    /// Its hash.
    pub sha256: Sha256Hex,
    /// Its length.
    pub size_bytes: u64,
    /// A sentence about it.
    pub description: String,
}

/// When a model is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// In every run of the checks: small.
    Ci,
    /// For full validation: the real thing.
    Integration,
}

impl Tier {
    /// The names of the tiers, as the lockfile has them.
    pub const NAMES: [&str; 2] = ["ci", "integration"];
}

/// A name that is no tier's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no tier; there are ci and integration")]
pub struct UnknownTier(String);

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "ci" => Ok(Self::Ci),
            "integration" => Ok(Self::Integration),
            other => Err(UnknownTier(other.to_owned())),
        }
    }
}

/// The lockfile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockfileError {
    /// It cannot be read.
    #[error("cannot read the lockfile {path}: {source}", path = path.display())]
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("the lockfile {path} is malformed: {source}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and how.
        source: serde_json::Error,
    },
    /// It is from another time.
    #[error("the lockfile {path} has schema version {found}; this program reads {SCHEMA}x", path = path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
}

impl ModelLock {
    /// Read the lockfile at `path`.
    ///
    /// # Errors
    /// It cannot be read, is malformed, or has a schema version this program does not know.
    pub fn read(path: &Path) -> Result<Self, LockfileError> {
        let text = bitnet_files::read(path).map_err(|source| LockfileError::Read {
            path: path.to_owned(),
            source,
        })?;
        let lock: Self = serde_json::from_slice(&text).map_err(|source| LockfileError::Parse {
            path: path.to_owned(),
            source,
        })?;
        if !lock.schema_version.starts_with(SCHEMA) {
            return Err(LockfileError::Schema {
                path: path.to_owned(),
                found: lock.schema_version,
            });
        }
        Ok(lock)
    }
}

impl LockedModel {
    /// Where to get it: a hub address through `origin`, a relative path in the `folder` of the
    /// lockfile, and any other address as it stands.
    ///
    /// # Errors
    /// `origin` is a folder that does not have the file.
    pub fn source(&self, origin: &Origin, folder: &Path) -> Result<Source, HubFileError> {
        if let Some(file) = HubFile::from_url(&self.url) {
            return origin.locate(&file);
        }
        let is_web = self.url.starts_with("http://") || self.url.starts_with("https://");
        Ok(if is_web {
            Source::Web(self.url.clone())
        } else {
            Source::File(folder.join(&self.url))
        })
    }

    /// Whether the file is behind the hub's gate, where a token helps.
    pub fn is_on_hub(&self) -> bool {
        HubFile::from_url(&self.url).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bitnet_files::hash_file;

    use super::{LOCKFILE, LockfileError, ModelLock, Source, Tier};
    use crate::DEFAULT_MODEL;
    use crate::download::HubFile;

    fn committed() -> (ModelLock, &'static Path) {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        (
            ModelLock::read(&root.join(LOCKFILE)).expect("a lockfile"),
            root,
        )
    }

    #[test]
    fn the_committed_lockfile_pins_the_default_model() {
        let (lock, _) = committed();
        let model = lock
            .models
            .iter()
            .find(|model| model.tier == Tier::Integration)
            .expect("an integration model");
        assert_eq!(model.sha256.to_string(), DEFAULT_MODEL.sha256);
        let file = HubFile::from_url(&model.url).expect("a file on the hub");
        assert_eq!(
            (file.repository().to_string().as_str(), file.leaf()),
            (DEFAULT_MODEL.repository, DEFAULT_MODEL.file)
        );
    }

    #[test]
    fn the_committed_ci_model_is_the_demo_model_of_the_repository() {
        let (lock, root) = committed();
        let model = lock
            .models
            .iter()
            .find(|model| model.tier == Tier::Ci)
            .expect("a ci model");
        let origin = "https://mirror.invalid".parse().expect("an origin");
        let Ok(Source::File(path)) = model.source(&origin, root) else {
            panic!("a file in the repository")
        };
        assert_eq!(hash_file(&path, || false).expect("readable"), model.sha256);
        assert_eq!(path.metadata().expect("readable").len(), model.size_bytes);
    }

    #[test]
    fn tiers_have_the_names_of_the_lockfile() {
        for name in Tier::NAMES {
            let json = format!("{name:?}");
            let read: Tier = serde_json::from_str(&json).expect("a tier");
            assert_eq!(name.parse(), Ok(read));
        }
        assert!("all".parse::<Tier>().is_err());
    }

    #[test]
    fn a_lockfile_that_is_not_understood_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(LOCKFILE);
        assert!(matches!(
            ModelLock::read(&path),
            Err(LockfileError::Read { .. })
        ));
        for (text, said) in [
            ("{", "malformed"),
            (
                r#"{"schema_version":"1.0.0","updated":"","models":[{"name":"x","tier":"ci","url":"u","sha256":"abc","size_bytes":1,"description":""}]}"#,
                "64 hexadecimal",
            ),
            (
                r#"{"schema_version":"2.0.0","updated":"","models":[]}"#,
                "schema version 2.0.0",
            ),
        ] {
            std::fs::write(&path, text).expect("written");
            let error = ModelLock::read(&path).expect_err(text).to_string();
            assert!(error.contains(said) && error.contains(LOCKFILE), "{error}");
        }
    }
}
