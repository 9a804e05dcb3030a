//! The names a download may use, all beside the final file. Nothing else is ever created.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Where a file ends up, and the names used on the way there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: PathBuf,
    part: PathBuf,
}

impl Place {
    /// The file at `file`, its partial download beside it as `<file>.part`.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self::with_part_suffix(file, ".part")
    }

    /// The same with another suffix for the partial download.
    pub fn with_part_suffix(file: impl Into<PathBuf>, suffix: &str) -> Self {
        let file = file.into();
        let part = appended(&file, suffix);
        Self { file, part }
    }

    /// The final file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// What has arrived so far.
    pub fn part(&self) -> &Path {
        &self.part
    }

    /// Held by the one process that writes.
    pub fn lock(&self) -> PathBuf {
        appended(&self.file, ".lock")
    }

    /// The server's `ETag` of the part if there is one, else of the file.
    pub fn etag(&self) -> PathBuf {
        appended(&self.file, ".etag")
    }

    /// The server's `Last-Modified`, likewise.
    pub(crate) fn last_modified(&self) -> PathBuf {
        appended(&self.file, ".lastmod")
    }

    /// The folder all of them are in.
    pub fn folder(&self) -> &Path {
        match self.file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// The name of the final file, for messages.
    pub(super) fn name(&self) -> String {
        self.file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

fn appended(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    name.into()
}
