//! The tokenizer of a model: the one named, else the one inside the GGUF, else a `tokenizer.json`
//! beside the model or one folder up.
//!
//! Looks at files and reads metadata; never touches the network, never makes anything up, and loads
//! a tokenizer only where it is told to. What is missing is an error that says what to run.

use std::io;
use std::path::{Path, PathBuf};

use bitnet_gguf::Gguf;

pub use crate::not_found::{Embedded, Searched, Seen, TokenizerNotFound};
use crate::{Error, Tokenizer};

const FILE: &str = "tokenizer.json";

/// Where a model's tokenizer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerSource {
    /// The file named by the user.
    Explicit(PathBuf),
    /// In the metadata of the model itself.
    Embedded,
    /// `tokenizer.json` in the folder of the model.
    Sibling(PathBuf),
    /// `tokenizer.json` one folder up.
    Parent(PathBuf),
}

impl TokenizerSource {
    /// The file to load, unless it is the model.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Embedded => None,
            Self::Explicit(path) | Self::Sibling(path) | Self::Parent(path) => Some(path),
        }
    }

    /// Loads it; `gguf` is the model that it was found for.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`] and [`Tokenizer::from_file`].
    pub fn load(&self, gguf: &Gguf) -> Result<Tokenizer, Error> {
        match self.path() {
            None => Tokenizer::from_gguf(gguf),
            Some(path) => Tokenizer::from_file(path),
        }
    }

    /// The word for it in receipts (`TokenizerAuthority::source`).
    pub fn name(&self) -> &'static str {
        match self {
            Self::Explicit(_) => "external",
            Self::Embedded => "gguf_embedded",
            Self::Sibling(_) | Self::Parent(_) => "auto_discovered",
        }
    }
}

/// Looks for the tokenizer of one model.
#[derive(Debug, Clone)]
pub struct TokenizerDiscovery {
    model: PathBuf,
}

impl TokenizerDiscovery {
    /// For the model at this path. A model that has none (one held in memory) takes any name in the
    /// current folder.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
        }
    }

    /// Search in the documented order. `explicit` is the user's `--tokenizer`, which ends the
    /// search either way.
    ///
    /// # Errors
    /// The file the user named is not there, or nothing was found anywhere; the message says what
    /// to run.
    pub fn discover(
        &self,
        explicit: Option<&Path>,
        gguf: &Gguf,
    ) -> Result<TokenizerSource, TokenizerNotFound> {
        if let Some(path) = explicit {
            return match look_at(path) {
                Seen::File => Ok(TokenizerSource::Explicit(path.to_owned())),
                seen => Err(TokenizerNotFound::Explicit {
                    path: path.to_owned(),
                    seen,
                }),
            };
        }
        let embedded = embedded(gguf);
        log::debug!(
            "tokenizer of {}: GGUF embedded: {embedded}",
            self.model.display()
        );
        if let Embedded::Present = embedded {
            return Ok(TokenizerSource::Embedded);
        }
        let (sibling, parent) = self.candidates();
        let mut seen = [Seen::Missing; 2];
        for (seen, path) in seen.iter_mut().zip([&sibling, &parent]) {
            *seen = look_at(path);
            log::debug!(
                "tokenizer of {}: {} ({seen})",
                self.model.display(),
                path.display()
            );
            if let Seen::File = seen {
                break;
            }
        }
        match seen {
            [Seen::File, _] => Ok(TokenizerSource::Sibling(sibling)),
            [_, Seen::File] => Ok(TokenizerSource::Parent(parent)),
            [at_sibling, at_parent] => Err(TokenizerNotFound::Anywhere(Box::new(Searched {
                model: self.model.clone(),
                embedded,
                sibling: (sibling, at_sibling),
                parent: (parent, at_parent),
            }))),
        }
    }

    /// The files that may be it: beside the model, and one folder up.
    fn candidates(&self) -> (PathBuf, PathBuf) {
        let folder = self.model.parent().unwrap_or(Path::new(""));
        let above = match folder.parent() {
            Some(above) if folder.file_name().is_some() => above.to_owned(),
            // No name to take off: the current folder, or one that ends in "..".
            _ => folder.join(".."),
        };
        (folder.join(FILE), above.join(FILE))
    }
}

fn embedded(gguf: &Gguf) -> Embedded {
    let metadata = gguf.metadata();
    match (
        metadata.contains("tokenizer.ggml.model"),
        metadata.contains("tokenizer.ggml.tokens"),
    ) {
        (true, true) => Embedded::Present,
        (true, false) => Embedded::WithoutTokens,
        (false, _) => Embedded::Absent,
    }
}

fn look_at(path: &Path) -> Seen {
    match std::fs::metadata(path) {
        Ok(about) if about.is_file() => Seen::File,
        Ok(_) => Seen::NotAFile,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Seen::Missing
        }
        Err(error) => Seen::Refused(error.kind()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use bitnet_gguf::Gguf;

    use super::{TokenizerDiscovery, TokenizerNotFound, TokenizerSource};

    /// A GGUF with these string keys and nothing else.
    fn gguf(keys: &[&str]) -> Gguf {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(0u64.to_le_bytes());
        bytes.extend((keys.len() as u64).to_le_bytes());
        for key in keys {
            bytes.extend((key.len() as u64).to_le_bytes());
            bytes.extend(key.as_bytes());
            bytes.extend(8u32.to_le_bytes());
            bytes.extend(4u64.to_le_bytes());
            bytes.extend(b"gpt2");
        }
        Gguf::from_bytes(bytes).expect("a well-formed file")
    }

    fn tree() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join("models/some-model");
        fs::create_dir_all(&folder).expect("created");
        let model = folder.join("model.gguf");
        (root, model)
    }

    fn put(path: PathBuf) -> PathBuf {
        fs::write(&path, "{}").expect("written");
        path
    }

    #[test]
    fn the_order_is_explicit_embedded_sibling_parent() {
        let (root, model) = tree();
        let discovery = TokenizerDiscovery::new(&model);
        let (bare, full) = (
            gguf(&[]),
            gguf(&["tokenizer.ggml.model", "tokenizer.ggml.tokens"]),
        );

        let parent = put(root.path().join("models/tokenizer.json"));
        assert_eq!(
            discovery.discover(None, &bare),
            Ok(TokenizerSource::Parent(parent))
        );
        let sibling = put(root.path().join("models/some-model/tokenizer.json"));
        assert_eq!(
            discovery.discover(None, &bare),
            Ok(TokenizerSource::Sibling(sibling))
        );
        assert_eq!(
            discovery.discover(None, &full),
            Ok(TokenizerSource::Embedded)
        );
        let explicit = put(root.path().join("other.json"));
        assert_eq!(
            discovery.discover(Some(&explicit), &full),
            Ok(TokenizerSource::Explicit(explicit))
        );
    }

    #[test]
    fn an_explicit_path_that_is_not_there_is_an_error_and_not_a_search() {
        let (root, model) = tree();
        put(root.path().join("models/tokenizer.json"));
        for (path, said) in [
            (root.path().join("nowhere.json"), "not found"),
            (root.path().to_owned(), "not a file"),
        ] {
            let error = TokenizerDiscovery::new(&model)
                .discover(Some(&path), &gguf(&[]))
                .expect_err("no fallback");
            assert!(matches!(error, TokenizerNotFound::Explicit { .. }));
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn the_message_is_the_specified_one() {
        let error = TokenizerDiscovery::new("models/model-dir/model.gguf")
            .discover(None, &gguf(&[]))
            .expect_err("none");
        assert_eq!(
            error.to_string(),
            "Tokenizer not found for model: models/model-dir/model.gguf\n\
             \n\
             Tokenizer auto-discovery failed. Tried:\n\
             \x20 1. GGUF embedded tokenizer: Not present\n\
             \x20 2. Sibling tokenizer.json: models/model-dir/tokenizer.json (not found)\n\
             \x20 3. Parent directory: models/tokenizer.json (not found)\n\
             \n\
             Solution:\n\
             \x20 1. Download LLaMA-3 tokenizer:\n\
             \x20    cargo xtask tokenizer --into models/\n\
             \x20 2. Provide explicit tokenizer path:\n\
             \x20    --tokenizer /path/to/tokenizer.json\n\
             \n\
             For more help, see: docs/quickstart.md#tokenizer-setup"
        );
    }

    #[test]
    fn a_kind_without_tokens_is_not_an_embedded_tokenizer() {
        let (_root, model) = tree();
        let error = TokenizerDiscovery::new(model)
            .discover(None, &gguf(&["tokenizer.ggml.model"]))
            .expect_err("none");
        assert!(
            error
                .to_string()
                .contains("tokenizer.ggml.model without tokenizer.ggml.tokens"),
            "{error}"
        );
    }

    #[test]
    fn following_the_message_leads_to_a_tokenizer_wherever_the_model_is() {
        for place in [
            "models/m/model.gguf",
            "models/model.gguf",
            "a/b/model.gguf",
            "model.gguf",
        ] {
            let root = tempfile::tempdir().expect("a folder");
            let model = root.path().join(place);
            fs::create_dir_all(model.parent().expect("a parent")).expect("created");
            let discovery = TokenizerDiscovery::new(&model);
            let message = discovery
                .discover(None, &gguf(&[]))
                .expect_err("none")
                .to_string();
            let into = message
                .lines()
                .find_map(|line| line.trim().strip_prefix("cargo xtask tokenizer --into "));
            put(Path::new(into.expect("a command")).join("tokenizer.json"));
            assert!(discovery.discover(None, &gguf(&[])).is_ok(), "{place}");
        }
        let bare = TokenizerDiscovery::new("no-such-model.gguf")
            .discover(None, &gguf(&[]))
            .expect_err("none");
        assert!(bare.to_string().contains("--into ./\n"), "{bare}");
        assert!(
            bare.to_string()
                .contains("3. Parent directory: ../tokenizer.json"),
            "{bare}"
        );
    }
}
