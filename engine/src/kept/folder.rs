//! The files of a folder, by when they were used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A file of a folder.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Whether writing it was begun and not finished yet, if ever.
    pub(crate) begun: bool,
}

/// The files whose names end with `.ending`, and those that are to have such names. The one that
/// was used least recently comes first.
pub(crate) fn by_age(folder: &Path, ending: &str) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.ends_with(&format!(".{ending}"));
        let begun = name.contains(&format!(".{ending}.")) && name.ends_with(".partial");
        let Some(meta) = entry
            .metadata()
            .ok()
            .filter(|meta| meta.is_file() && (ours || begun))
        else {
            continue;
        };
        let used = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let file = Found {
            path: entry.path(),
            bytes: meta.len(),
            begun,
        };
        found.push((used, file));
    }
    found.sort_by(|(a, one), (b, other)| (a, &one.path).cmp(&(b, &other.path)));
    Ok(found.into_iter().map(|(_, file)| file).collect())
}

/// Notes that a file was used now: only for the order in which files go.
pub(crate) fn note_use(path: &Path) {
    let opened = fs::File::options().append(true).open(path);
    let _ = opened.and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes a file, if another process has not done so.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
