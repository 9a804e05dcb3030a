//! Writing a file beside its place and renaming it: who reads the place sees the old file or the
//! new one, whole.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a large page.
const LARGE_PAGE: usize = 2 << 20;

/// A file on its way to its place. Dropped before [`Self::commit`], it is removed, and what stood
/// in its place stays.
///
/// A link is not replaced: what it leads to is. A device or a pipe is written to as it is.
#[derive(Debug)]
pub struct AtomicFile {
    place: PathBuf,
    /// Where it is written; none for a device or a pipe, and once the file has its name.
    partial: Option<PathBuf>,
    file: BufWriter<File>,
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
                file: BufWriter::new(device),
            });
        }
        if let Some(folder) = place.parent().filter(|path| !path.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let (partial, file) = beside(&place)?;
        let begun = AtomicFile {
            place,
            partial: Some(partial),
            file: BufWriter::with_capacity(LARGE_PAGE, file),
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
        write_in_blocks(&mut self.file, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// [`Write::write`] that fills the buffer to its end each time: what is written then begins at
/// multiples of its capacity. A file that is written in blocks of a large page can lie in memory in
/// large pages, and whoever maps it reads it so.
fn write_in_blocks<W: Write>(file: &mut BufWriter<W>, bytes: &[u8]) -> io::Result<usize> {
    let room = file.capacity() - file.buffer().len();
    let written = file.write(&bytes[..bytes.len().min(room)])?;
    if file.buffer().len() == file.capacity() {
        file.flush()?;
    }
    Ok(written)
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

    /// What is written at a time.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whatever_comes_at_a_time_is_written_in_blocks() {
        let bytes: Vec<u8> = (0..23).collect();
        for at_a_time in [1, 3, 5, 8, 23] {
            let mut file = BufWriter::with_capacity(5, Writes::default());
            for mut part in bytes.chunks(at_a_time) {
                while !part.is_empty() {
                    let written = write_in_blocks(&mut file, part).expect("written");
                    part = &part[written..];
                }
            }
            let whole = bytes.chunks_exact(5);
            assert_eq!(file.get_ref().0, whole.collect::<Vec<_>>(), "{at_a_time}");
            file.flush().expect("written");
            assert_eq!(file.get_ref().0, bytes.chunks(5).collect::<Vec<_>>());
        }
    }

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
