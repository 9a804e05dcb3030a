//! Writing a file beside its place and renaming it: who reads the place sees the old file or the
//! new one, whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file on its way to its place. Dropped before [`Self::commit`], it is removed, and what stood
/// in its place stays.
#[derive(Debug)]
pub struct AtomicFile {
    place: PathBuf,
    partial: PathBuf,
    /// None once the file has its name.
    file: Option<File>,
}

impl AtomicFile {
    /// Begins a file that will stand at `place`, as `<place>.partial` beside it. Its folder is made
    /// if need be.
    ///
    /// # Errors
    /// The folder or the file cannot be made.
    pub fn create(place: &Path) -> io::Result<AtomicFile> {
        if let Some(folder) = place.parent().filter(|path| !path.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut name = OsString::from(place.as_os_str());
        name.push(".partial");
        let partial = PathBuf::from(name);
        Ok(AtomicFile {
            file: Some(File::create(&partial)?),
            place: place.to_owned(),
            partial,
        })
    }

    /// Makes the bytes durable and gives the file its name.
    ///
    /// # Errors
    /// The disk does not take the bytes, or the file cannot be renamed; it is removed then.
    pub fn commit(mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_all()?;
        }
        // Windows does not rename an open file.
        self.file = None;
        fs::rename(&self.partial, &self.place).inspect_err(|_| {
            let _ = fs::remove_file(&self.partial);
        })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.file {
            Some(file) => file.write(bytes),
            None => Err(io::Error::other("the file has its name already")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), File::flush)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

/// Puts `bytes` into the file at `place`, whole or not at all.
///
/// # Errors
/// As [`AtomicFile::create`] and [`AtomicFile::commit`]; what stood at `place` is then untouched.
pub fn replace(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = AtomicFile::create(place)?;
    file.write_all(bytes)?;
    file.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .into_string()
                    .expect("text")
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_that_is_dropped_leaves_what_was_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("deep/x.json");
        replace(&place, b"old").expect("written");
        let mut file = AtomicFile::create(&place).expect("begun");
        file.write_all(b"half").expect("written");
        assert_eq!(fs::read(&place).expect("there"), b"old");
        drop(file);
        assert_eq!(fs::read(&place).expect("there"), b"old");
        replace(&place, b"new").expect("written");
        assert_eq!(fs::read(&place).expect("there"), b"new");
        assert_eq!(names(&folder.path().join("deep")), ["x.json"]);
    }

    #[test]
    fn a_place_that_cannot_be_taken_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("x");
        fs::create_dir_all(place.join("full")).expect("created");
        replace(&place, b"new").expect_err("a folder with content is there");
        assert_eq!(names(folder.path()), ["x"]);
    }
}
