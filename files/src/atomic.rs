//! Writing a file beside its place and renaming it: who reads the place sees the old file or the
//! new one, whole.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::blocks::BlockWriter;

/// Bytes of a large page.
const LARGE_PAGE: usize = 2 << 20;
/// Bytes that a device or a pipe is given at a time.
const LITTLE: usize = 8 << 10;

/// A file on its way to its place. Dropped before [`Self::commit`], it is removed, and what stood
/// in its place stays.
///
/// A link is not replaced: what it leads to is. A device or a pipe is written to as it is.
#[derive(Debug)]
pub struct AtomicFile {
    place: PathBuf,
    /// Where it is written; none for a device or a pipe, and once the file has its name.
    partial: Option<PathBuf>,
    file: BlockWriter<File>,
}

impl AtomicFile {
    /// Begins a file that will stand at `place`, in a file of another name beside it. Its folder is
    /// made if need be.
    ///
    /// # Errors
    /// The folder or the file cannot be made, or a folder is there.
    pub fn create(place: &Path) -> io::Result<AtomicFile> {
        // A link stays, and what it names is replaced.
        let place = fs::canonicalize(place).unwrap_or_else(|_| place.to_owned());
        let there = fs::metadata(&place).ok();
        if there.as_ref().is_some_and(fs::Metadata::is_dir) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let device = File::options().write(true).open(&place)?;
            return Ok(AtomicFile {
                place,
                partial: None,
                file: BlockWriter::new(device, LITTLE),
            });
        }
        if let Some(folder) = place.parent().filter(|path| !path.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let (partial, file) = beside(&place)?;
        let begun = AtomicFile {
            place,
            partial: Some(partial),
            file: BlockWriter::new(file, LARGE_PAGE),
        };
        if let Some(there) = there {
            begun.file.get_ref().set_permissions(there.permissions())?;
        }
        Ok(begun)
    }

    /// Makes the bytes durable and gives the file its name.
    ///
    /// # Errors
    /// The disk does not take the bytes, or the file cannot be renamed; it is removed then.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.flush()?;
        let Some(partial) = &self.partial else {
            return Ok(());
        };
        self.file.get_ref().sync_all()?;
        fs::rename(partial, &self.place)?;
        self.partial = None;
        Ok(())
    }
}

/// Ends the name of a file that is being written.
const PARTIAL: &str = ".partial";

/// A new file in the folder of `place`, under a name of its own whoever else writes there, and
/// locked for as long as it is open. What writers that were killed left there is removed.
fn beside(place: &Path) -> io::Result<(PathBuf, File)> {
    static FILES: AtomicU32 = AtomicU32::new(0);
    let name = place.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    remove_abandoned(place, name);
    let process = std::process::id();
    loop {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        let mut name = name.to_owned();
        name.push(format!(".{process}-{number}{PARTIAL}"));
        let partial = place.with_file_name(name);
        let file = File::create(&partial)?;
        // A file system without locks has nobody who takes this file for abandoned.
        let _ = file.lock();
        // Between these two steps another writer may have taken it for that.
        if partial.exists() {
            return Ok((partial, file));
        }
    }
}

/// Removes files that were begun for `place`, of this `name`, and that nobody holds any more.
fn remove_abandoned(place: &Path, name: &OsStr) {
    let folder = match place.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let Some(name) = name.to_str() else { return };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let found = entry.file_name();
        let owner = found
            .to_str()
            .and_then(|found| found.strip_prefix(name)?.strip_prefix('.'))
            .and_then(|found| found.strip_suffix(PARTIAL)?.split_once('-'));
        let number = |text: &str| text.parse::<u32>().is_ok();
        if !owner.is_some_and(|(process, file)| number(process) && number(file)) {
            continue;
        }
        let opened = File::options().write(true).open(entry.path());
        if opened.is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            let _ = fs::remove_file(partial);
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

/// The one of `inputs` that a file written to `place` would take the place of.
pub fn same_place<'p>(
    place: &Path,
    inputs: impl IntoIterator<Item = &'p Path>,
) -> Option<&'p Path> {
    let place = fs::canonicalize(place).ok()?;
    let mut inputs = inputs.into_iter();
    inputs.find(|input| fs::canonicalize(input).is_ok_and(|input| input == place))
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
    fn what_a_killed_writer_left_is_removed_and_what_is_being_written_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("x");
        let mut held = AtomicFile::create(&place).expect("begun");
        held.write_all(b"held").expect("written");
        for left in [
            "x.77-0.partial",
            "y.77-0.partial",
            "x.partial",
            "x.7.partial",
        ] {
            fs::write(folder.path().join(left), b"half").expect("written");
        }
        replace(&place, b"new").expect("written");
        assert!(!folder.path().join("x.77-0.partial").exists());
        held.commit().expect("still there");
        assert_eq!(fs::read(&place).expect("there"), b"held");
        let others = ["x", "x.7.partial", "x.partial", "y.77-0.partial"];
        assert_eq!(names(folder.path()), others);
    }

    #[test]
    fn a_place_that_cannot_be_taken_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = folder.path().join("x");
        fs::create_dir_all(place.join("full")).expect("created");
        replace(&place, b"new").expect_err("a folder with content is there");
        assert_eq!(names(folder.path()), ["x"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_and_what_it_names_is_replaced() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("x"), folder.path().join("link"));
        fs::write(&file, b"old").expect("written");
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&file, private.clone()).expect("set");
        symlink(&file, &link).expect("linked");
        replace(&link, b"new").expect("written");
        assert_eq!(fs::read(&file).expect("there"), b"new");
        let kept = fs::metadata(&file).expect("there").permissions();
        assert_eq!(kept.mode() & 0o777, private.mode());
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(names(folder.path()), ["link", "x"]);
        assert_eq!(same_place(&link, [&*file]), Some(&*file));
        assert_eq!(same_place(&folder.path().join("y"), [&*file]), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to() {
        replace(Path::new("/dev/null"), b"gone").expect("written");
    }
}
