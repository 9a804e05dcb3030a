//! What is asked of the downloader, and how it ends.

use std::path::Path;

use super::progress::Progress;
use super::retry::RetryPolicy;
use super::transfer::{Transfer, io_error};
use super::{DownloadError, Interrupt, Lock, LockError, Place, Sha256Hex, Source, Token};

/// A check of the finished file, run before it gets its final name; an `Err` says why it will not
/// do.
pub type Check<'a> = &'a dyn Fn(&Path) -> Result<(), String>;

/// One file to bring.
pub struct Job<'a> {
    /// Where from.
    pub source: Source,
    /// Where to.
    pub place: Place,
    /// The SHA256 it must have.
    pub sha256: Option<Sha256Hex>,
    /// The length it must have, in bytes.
    pub size: Option<u64>,
    /// Sent to a web server over https, and to this machine.
    pub token: Option<Token>,
    /// Download even if the file is there, from the first byte.
    pub force: bool,
    /// Keep `.etag` and `.lastmod` beside the file, to ask only for changes the next time.
    pub keep_validators: bool,
    /// What else the file must pass.
    pub check: Option<Check<'a>>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The file was already there and is the one asked for.
    UpToDate {
        /// Its hash, if one was asked for.
        sha256: Option<Sha256Hex>,
    },
    /// It is new.
    Downloaded {
        /// Length in bytes.
        bytes: u64,
        /// Computed while it arrived.
        sha256: Sha256Hex,
    },
}

/// Runs jobs.
#[derive(Debug, Clone)]
pub struct Downloader {
    /// Limits on patience.
    pub retry: RetryPolicy,
    /// Stops a job from outside.
    pub interrupt: Interrupt,
    /// What to show.
    pub progress: Progress,
}

impl Downloader {
    /// Bring the file. The folder is created if need be; another process at the same file is waited
    /// for.
    ///
    /// # Errors
    /// See [`DownloadError`]. The final file is then what it was before, or absent if it was found
    /// not to be the one asked for.
    pub fn fetch(&self, job: &Job<'_>) -> Result<Outcome, DownloadError> {
        let folder = job.place.folder();
        std::fs::create_dir_all(folder).map_err(|e| io_error("create", folder, e))?;
        let lock_path = job.place.lock();
        let waiting = |owner: &str| {
            self.progress.note(&format!(
                "Waiting for another download of {} to end ({owner})",
                job.place.name()
            ));
        };
        let _lock =
            Lock::acquire(&lock_path, &self.interrupt, waiting).map_err(|error| match error {
                LockError::Interrupted => DownloadError::Interrupted { part: None },
                LockError::Io { path, source } => io_error("create", &path, source),
            })?;
        Transfer::new(self, job)?.run()
    }
}
