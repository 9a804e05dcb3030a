//! [`StoreProblem`]: why a file that was kept is not used, or was not written.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// What became of a file of a [`PrefixStore`](crate::scheduler::PrefixStore) or a
/// [`ScreenCache`](crate::ScreenCache) that is not used, or of one that was to be written. Nothing
/// else comes of it: what is not found is made again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreProblem {
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file, or the folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is not as it was written.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What shows it.
        what: &'static str,
    },
    /// Another version of the engine wrote it.
    #[error("{} has version {version}, this program reads {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
        /// The one that this program reads.
        known: u32,
    },
    /// It is of another model, another type of caches, or a build whose results are others.
    #[error("{} is of another model, type of cache, or version of the numerics", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// What is in it cannot be put onto the device, or taken from there.
    #[error("{}: {source}", path.display())]
    Device {
        /// The file.
        path: PathBuf,
        /// What the device says.
        source: Box<Error>,
    },
    /// Writing it was begun and never finished.
    #[error("{} was not written to its end", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// The disk is slower than what is to be kept comes.
    #[error("{} was not written: others are being written still", path.display())]
    Busy {
        /// The file that was to be written.
        path: PathBuf,
    },
}

/// Tells of a file that is not as it was written.
pub(crate) fn damaged(path: &Path, what: &'static str) -> StoreProblem {
    let path = path.to_owned();
    StoreProblem::Damaged { path, what }
}
