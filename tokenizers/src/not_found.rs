//! A search for a tokenizer that found none: what was tried, in words.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What a GGUF holds of a tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embedded {
    /// The kind and the vocabulary.
    Present,
    /// Its kind, but no tokens.
    WithoutTokens,
    /// Nothing.
    Absent,
}

impl fmt::Display for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Present => "Present",
            Self::WithoutTokens => {
                "Not present (tokenizer.ggml.model without tokenizer.ggml.tokens)"
            }
            Self::Absent => "Not present",
        })
    }
}

/// What a look at a path showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A file.
    File,
    /// Something else, a folder for one.
    NotAFile,
    /// Nothing.
    Missing,
    /// The system would not tell.
    Refused(io::ErrorKind),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("found"),
            Self::NotAFile => f.write_str("not a file"),
            Self::Missing => f.write_str("not found"),
            Self::Refused(kind) => kind.fmt(f),
        }
    }
}

/// There is no tokenizer to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerNotFound {
    /// The file the user named.
    #[error(
        "Tokenizer not found: {path} ({seen})\n\n\
         Solution:\n  \
         1. Check the path given with --tokenizer\n  \
         2. Leave --tokenizer out to search inside and beside the model\n\n\
         For more help, see: docs/quickstart.md#tokenizer-setup",
        path = path.display()
    )]
    Explicit {
        /// As given.
        path: PathBuf,
        /// What is there.
        seen: Seen,
    },
    /// Every place of the search.
    #[error("{0}")]
    Anywhere(Box<Searched>),
}

/// A search that found nothing, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Searched {
    pub(crate) model: PathBuf,
    pub(crate) embedded: Embedded,
    pub(crate) sibling: (PathBuf, Seen),
    pub(crate) parent: (PathBuf, Seen),
}

impl Searched {
    /// What was tried, without the advice.
    pub fn in_one_line(&self) -> String {
        format!(
            "not found (embedded: {}; {}: {}; {}: {})",
            self.embedded.to_string().to_lowercase(),
            self.sibling.0.display(),
            self.sibling.1,
            self.parent.0.display(),
            self.parent.1
        )
    }

    /// The folder to download into so that the next search succeeds: the `models` folder if the
    /// search passes it.
    fn download_folder(&self) -> String {
        let folder = |file: &Path| file.parent().unwrap_or(Path::new("")).to_owned();
        let (beside, above) = (folder(&self.sibling.0), folder(&self.parent.0));
        let chosen = if !beside.ends_with("models") && above.ends_with("models") {
            above
        } else {
            beside
        };
        match chosen.to_string_lossy() {
            here if here.is_empty() => "./".to_owned(),
            there => format!("{}/", there.trim_end_matches('/')),
        }
    }
}

impl fmt::Display for Searched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Tokenizer not found for model: {model}\n\n\
             Tokenizer auto-discovery failed. Tried:\n  \
             1. GGUF embedded tokenizer: {embedded}\n  \
             2. Sibling tokenizer.json: {sibling} ({at_sibling})\n  \
             3. Parent directory: {parent} ({at_parent})\n\n\
             Solution:\n  \
             1. Download LLaMA-3 tokenizer:\n     \
             cargo xtask tokenizer --into {into}\n  \
             2. Provide explicit tokenizer path:\n     \
             --tokenizer /path/to/tokenizer.json\n\n\
             For more help, see: docs/quickstart.md#tokenizer-setup",
            model = self.model.display(),
            embedded = self.embedded,
            sibling = self.sibling.0.display(),
            at_sibling = self.sibling.1,
            parent = self.parent.0.display(),
            at_parent = self.parent.1,
            into = self.download_folder(),
        )
    }
}
