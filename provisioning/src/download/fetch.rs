//! Running a job: its folder, its lock, its transfer.

use super::error::DownloadError;
use super::job::{Downloader, Job, Outcome};
use super::transfer::Transfer;
use crate::lock::{Lock, LockError};

impl Downloader {
    /// Bring the file. The folder is created if need be; another process at the same file is waited
    /// for.
    ///
    /// # Errors
    /// See [`DownloadError`]. The final file is then what it was before, or absent if it was found
    /// not to be the one asked for.
    pub fn fetch(&self, job: &Job<'_>) -> Result<Outcome, DownloadError> {
        let folder = job.place.folder();
        std::fs::create_dir_all(folder)
            .map_err(|error| DownloadError::io("create", folder, error))?;
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
                LockError::Io { path, source } => DownloadError::io("create", &path, source),
            })?;
        Transfer::new(self, job)?.run()
    }
}
