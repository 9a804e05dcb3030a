//! One writer at a time. The lock is the operating system's, on an open file, so it ends with its
//! owner however that ends; the file's presence alone means nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitnet_process::Interrupt;

/// How often a waiting process looks again.
const POLL: Duration = Duration::from_millis(50);

/// Held while it lives; removes its file when dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

/// The lock could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The file cannot be created or locked here.
    #[error("cannot lock {path}: {source}", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Ctrl-C while waiting for another process.
    #[error("interrupted")]
    Interrupted,
}

impl Lock {
    /// Take the lock at `path`, waiting for another owner to finish. `waiting` is told once, with
    /// what the owner wrote about itself, if there is one.
    ///
    /// # Errors
    /// The file cannot be created or locked, or the wait was interrupted.
    pub fn acquire(
        path: &Path,
        interrupt: &Interrupt,
        waiting: impl FnOnce(&str),
    ) -> Result<Self, LockError> {
        let failed = |source| LockError::Io {
            path: path.to_owned(),
            source,
        };
        let mut waiting = Some(waiting);
        loop {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) if still_named(&file, path) => {
                    let owner = format!("process {}\n", std::process::id());
                    // Who holds it is a courtesy to those who wait; a full disk must not stop us
                    // here.
                    let _ = file
                        .set_len(0)
                        .and_then(|()| file.write_all(owner.as_bytes()));
                    return Ok(Self {
                        path: path.to_owned(),
                        _file: file,
                    });
                }
                // The owner before us removed the name between our opening and our locking: take
                // the new file instead.
                Ok(()) => continue,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
            if let Some(tell) = waiting.take() {
                let mut owner = String::new();
                let _ = file
                    .rewind()
                    .and_then(|()| file.take(64).read_to_string(&mut owner));
                tell(owner.trim());
            }
            if interrupt.sleep(POLL) {
                return Err(LockError::Interrupted);
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still locked: whoever locks the unlinked file sees that its name is gone
        // and tries again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether `path` still names the open `file`.
fn still_named(file: &File, path: &Path) -> bool {
    let (Ok(copy), Ok(named)) = (file.try_clone(), same_file::Handle::from_path(path)) else {
        return false;
    };
    same_file::Handle::from_file(copy).is_ok_and(|held| held == named)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Interrupt, Lock, LockError, still_named};

    #[test]
    fn at_most_one_owner_at_a_time_and_no_file_remains() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.lock");
        let (inside, interrupt) = (AtomicUsize::new(0), Interrupt::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let lock = Lock::acquire(&path, &interrupt, |_| {}).expect("a lock");
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two owners");
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(!path.exists());
    }

    #[test]
    fn a_file_that_lost_its_name_to_another_is_not_the_lock() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.lock");
        let file = std::fs::File::create(&path).expect("created");
        assert!(still_named(&file, &path));
        std::fs::remove_file(&path).expect("removed");
        assert!(!still_named(&file, &path));
        std::fs::write(&path, "").expect("another");
        assert!(!still_named(&file, &path));
    }

    #[test]
    fn the_file_of_a_dead_owner_does_not_block() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.lock");
        std::fs::write(&path, "process 1\n").expect("a stale file");
        Lock::acquire(&path, &Interrupt::default(), |_| panic!("nobody holds it")).expect("a lock");
    }

    #[test]
    fn a_wait_names_the_owner_and_ends_on_interrupt() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.lock");
        let interrupt = Interrupt::default();
        let _held = Lock::acquire(&path, &interrupt, |_| {}).expect("a lock");
        let raise = interrupt.clone();
        let waited = Lock::acquire(&path, &interrupt, |owner| {
            assert_eq!(owner, format!("process {}", std::process::id()));
            raise.raise();
        });
        assert!(matches!(waited, Err(LockError::Interrupted)));
    }
}
