//! Folders that appear whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};

use super::SetupError;
use super::process::remove;

/// A folder under construction. Dropped unfinished, it is removed.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Partial {
    /// Starts anew beside `target`, with nothing that an earlier attempt left.
    pub(super) fn beside(target: &Path) -> Result<Self, SetupError> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let path = target.with_file_name(name);
        remove(&path)?;
        fs::create_dir_all(&path).map_err(|e| SetupError::io("create", path.clone(), e))?;
        Ok(Self {
            path,
            target: target.to_owned(),
            finished: false,
        })
    }

    /// Where it is built.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts it in the place of whatever is there.
    pub(super) fn finish(mut self) -> Result<(), SetupError> {
        remove(&self.target)?;
        fs::rename(&self.path, &self.target)
            .map_err(|e| SetupError::io("put in place", self.target.clone(), e))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_leaves_what_was_there_and_finished_takes_its_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("x-1.2");
        fs::create_dir(&target).expect("created");
        fs::write(target.join("old"), "").expect("written");
        drop(Partial::beside(&target).expect("a partial"));
        assert!(target.join("old").exists());
        let partial = Partial::beside(&target).expect("a partial");
        fs::write(partial.path().join("new"), "").expect("written");
        partial.finish().expect("finished");
        assert!(target.join("new").exists() && !target.join("old").exists());
        assert_eq!(fs::read_dir(folder.path()).expect("read").count(), 1);
    }
}
