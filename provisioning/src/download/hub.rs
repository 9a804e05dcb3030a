//! Files the way the Hugging Face hub names them (repository, revision, path), and where to look
//! for them: the hub, a mirror of it, or a folder.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::source::Source;

/// The hub itself.
pub const DEFAULT_BASE_URL: &str = "https://huggingface.co";

/// What a path segment of an address may hold as it is (RFC 3986, "unreserved").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A name that does not fit, or a file that is not where it was looked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubFileError {
    /// Not `org/repo`.
    #[error(
        "{0:?} is not a repository: expected <org>/<repo> of letters, digits, '-', '_' and '.'"
    )]
    Repository(String),
    /// Empty, absolute, or with `..` in it.
    #[error(
        "{0:?} is not a file in a repository: it must be relative, without '..', '\\' or empty parts"
    )]
    File(String),
    /// Empty, or with `..` in it.
    #[error("{0:?} is not a revision: expected a branch, a tag or a commit")]
    Revision(String),
    /// Neither an address nor a folder.
    #[error("{0:?} is neither an http(s):// address nor a folder on this machine")]
    Origin(String),
    /// The folder was searched in vain.
    #[error("{file} is not in {folder}. Tried:{tried}", folder = folder.display())]
    NotInFolder {
        /// The file, as the hub names it.
        file: String,
        /// Where it was looked for.
        folder: PathBuf,
        /// One path per line.
        tried: String,
    },
}

/// A repository on the hub, `org/repo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepoId(String);

impl RepoId {
    /// The name of this repository as a folder: `org-repo`.
    pub fn folder_name(&self) -> String {
        self.0.replace('/', "-")
    }
}

impl FromStr for RepoId {
    type Err = HubFileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |name: &str| {
            !name.is_empty()
                && !name.starts_with('.')
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        match text.split_once('/') {
            Some((org, repo)) if fits(org) && fits(repo) => Ok(Self(text.to_owned())),
            _ => Err(HubFileError::Repository(text.to_owned())),
        }
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One file of one revision of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    repository: RepoId,
    revision: String,
    file: String,
}

impl HubFile {
    /// `file` (a path inside the repository, `/` between its parts) at `revision`.
    ///
    /// # Errors
    /// The file name is absolute or climbs with `..`, or the revision does.
    pub fn new(repository: RepoId, revision: &str, file: &str) -> Result<Self, HubFileError> {
        let climbs = |text: &str| {
            text.contains('\\')
                || text.chars().any(char::is_control)
                || text.split('/').any(|part| matches!(part, "" | "." | ".."))
        };
        // What is absolute on the machine that runs this (a drive letter, for one) is refused as
        // well.
        let plain = Path::new(file)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if climbs(file) || !plain {
            return Err(HubFileError::File(file.to_owned()));
        }
        if climbs(revision) {
            return Err(HubFileError::Revision(revision.to_owned()));
        }
        Ok(Self {
            repository,
            revision: revision.to_owned(),
            file: file.to_owned(),
        })
    }

    /// The file an address on the hub stands for, or `None` if it is another kind of address.
    pub(crate) fn from_url(url: &str) -> Option<Self> {
        let path = url.strip_prefix(DEFAULT_BASE_URL)?.strip_prefix('/')?;
        let (repository, rest) = path.split_once("/resolve/")?;
        let (revision, file) = rest.split_once('/')?;
        let plain = |text| {
            percent_decode_str(text)
                .decode_utf8()
                .ok()
                .map(std::borrow::Cow::into_owned)
        };
        Self::new(repository.parse().ok()?, &plain(revision)?, &plain(file)?).ok()
    }

    /// The last part of the file's name: what it is called on disk.
    pub fn leaf(&self) -> &str {
        self.file.rsplit('/').next().unwrap_or(&self.file)
    }

    /// The repository it is in.
    pub fn repository(&self) -> &RepoId {
        &self.repository
    }
}

impl fmt::Display for HubFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} at {}", self.repository, self.file, self.revision)
    }
}

/// Where hub files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The hub or a mirror with the same addresses; without a trailing `/`.
    Web(String),
    /// A folder on this machine.
    Folder(PathBuf),
}

impl FromStr for Origin {
    type Err = HubFileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Self::Web(text.trim_end_matches('/').to_owned()));
        }
        let folder = Path::new(text.strip_prefix("file://").unwrap_or(text));
        if folder.is_dir() {
            Ok(Self::Folder(folder.to_owned()))
        } else {
            Err(HubFileError::Origin(text.to_owned()))
        }
    }
}

impl Origin {
    /// Where `file` is.
    ///
    /// In a folder these are tried in turn: `<org>/<repo>/<file>` (a clone or `hf download
    /// --local-dir`), the layout of the hub's own cache, `<org>-<repo>/<leaf>` (the `models/`
    /// folder of this project), and `<leaf>`. A folder holds one revision of each file; only
    /// the hub's cache layout tells revisions apart.
    ///
    /// # Errors
    /// The folder has it in none of these places.
    pub fn locate(&self, file: &HubFile) -> Result<Source, HubFileError> {
        match self {
            Self::Web(base) => {
                let encode = |text: &str| utf8_percent_encode(text, SEGMENT).to_string();
                let path: Vec<_> = file.file.split('/').map(encode).collect();
                Ok(Source::Web(format!(
                    "{base}/{}/resolve/{}/{}",
                    file.repository,
                    encode(&file.revision),
                    path.join("/")
                )))
            }
            Self::Folder(folder) => {
                let cache =
                    folder.join(format!("models--{}", file.repository.0.replace('/', "--")));
                let commit = bitnet_files::read_to_string(cache.join("refs").join(&file.revision));
                let commit = commit.as_deref().map_or(file.revision.as_str(), str::trim);
                let tried = [
                    folder.join(&file.repository.0).join(&file.file),
                    cache.join("snapshots").join(commit).join(&file.file),
                    folder.join(file.repository.folder_name()).join(file.leaf()),
                    folder.join(file.leaf()),
                ];
                match tried.iter().find(|path| path.is_file()) {
                    Some(path) => Ok(Source::File(path.clone())),
                    None => Err(HubFileError::NotInFolder {
                        file: file.to_string(),
                        folder: folder.clone(),
                        tried: tried
                            .iter()
                            .map(|path| format!("\n  {}", path.display()))
                            .collect(),
                    }),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HubFile, HubFileError, Origin, RepoId, Source};

    fn file(name: &str) -> Result<HubFile, HubFileError> {
        HubFile::new("org/repo".parse().expect("a repository"), "main", name)
    }

    #[test]
    fn names_that_climb_or_start_at_the_root_are_refused() {
        for name in [
            "../x",
            "a/../x",
            "..",
            ".",
            "",
            "/etc/passwd",
            "a//b",
            "a/",
            "..\\x",
            "C:\\x",
            "a\nb",
        ] {
            assert!(file(name).is_err(), "{name:?}");
        }
        for id in [
            "repo", "a/b/c", "../x", "a/..", "/b", "a/", "a b/c", "a/.git",
        ] {
            assert!(id.parse::<RepoId>().is_err(), "{id:?}");
        }
        let id: RepoId = "org/repo".parse().expect("a repository");
        assert!(HubFile::new(id, "../../x", "f").is_err());
    }

    #[test]
    fn addresses_are_the_hubs_and_read_back() {
        let id: RepoId = "org/repo".parse().expect("a repository");
        let file = HubFile::new(id, "refs/pr/1", "gguf/a b.gguf").expect("a file");
        assert_eq!(file.leaf(), "a b.gguf");
        let origin: Origin = "https://huggingface.co/".parse().expect("an origin");
        let Ok(Source::Web(url)) = origin.locate(&file) else {
            panic!("a web address")
        };
        assert_eq!(
            url,
            "https://huggingface.co/org/repo/resolve/refs%2Fpr%2F1/gguf/a%20b.gguf"
        );
        assert_eq!(HubFile::from_url(&url), Some(file));
        assert_eq!(
            HubFile::from_url("https://example.com/org/repo/resolve/main/x"),
            None
        );
    }

    #[test]
    fn a_folder_is_searched_in_the_layouts_people_have() {
        let file = file("sub/m.gguf").expect("a file");
        for layout in [
            "org/repo/sub/m.gguf",
            "models--org--repo/snapshots/c0ffee/sub/m.gguf",
            "org-repo/m.gguf",
            "m.gguf",
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let origin: Origin = folder
                .path()
                .to_str()
                .expect("text")
                .parse()
                .expect("an origin");
            assert!(matches!(
                origin.locate(&file),
                Err(HubFileError::NotInFolder { .. })
            ));
            let path = folder.path().join(layout);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("created");
            std::fs::write(&path, "x").expect("written");
            let refs = folder.path().join("models--org--repo/refs");
            std::fs::create_dir_all(&refs).expect("created");
            std::fs::write(refs.join("main"), "c0ffee\n").expect("written");
            assert_eq!(origin.locate(&file), Ok(Source::File(path)), "{layout}");
        }
    }
}
