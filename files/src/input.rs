//! Opening what is to be read: files, and what a shell pipes in; never what would be waited for.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Opens a file to be read. A pipe that a shell names (`<(...)`, `/dev/stdin`) and `/dev/null` are
/// as good as one.
///
/// # Errors
/// It cannot be opened, or is a folder, a device or a named pipe: to open one that nobody writes
/// to would wait for ever.
pub fn open(path: impl AsRef<Path>) -> io::Result<File> {
    let path = path.as_ref();
    // Asked before opening, which is where it would wait.
    let kind = fs::metadata(path)?;
    if !kind.is_file() {
        if kind.is_dir() {
            return Err(refusal(ErrorKind::IsADirectory, "a folder, not a file"));
        }
        // The pipe of a shell leads to no place that has a name.
        let place = fs::canonicalize(path).ok();
        let unnamed = place.is_none_or(|place| place.starts_with("/dev/fd"));
        let of_shell = is_pipe(&kind) && unnamed;
        if !of_shell && !is_null(path) {
            return Err(refusal(
                ErrorKind::InvalidInput,
                "a device or a named pipe, not a file; it is not opened, as that may wait for ever",
            ));
        }
    }
    File::open(path)
}

/// The bytes of a file.
///
/// # Errors
/// As [`open`], or it cannot be read.
pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let mut file = open(path)?;
    let mut bytes = Vec::with_capacity(len(&file));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file, without the mark that some programs begin one with (BOM).
///
/// # Errors
/// As [`read`], or it is no UTF-8.
pub fn read_to_string(path: impl AsRef<Path>) -> io::Result<String> {
    let mut file = open(path)?;
    let mut text = String::with_capacity(len(&file));
    file.read_to_string(&mut text)?;
    if text.starts_with(MARK) {
        text.drain(..MARK.len_utf8());
    }
    Ok(text)
}

/// U+FEFF, which says in what order the bytes of other encodings come.
const MARK: char = '\u{feff}';

/// How much there is to be read, as far as it is known and no more than will be asked for at once.
fn len(file: &File) -> usize {
    const MOST: u64 = 1 << 30;
    file.metadata().map_or(0, |about| about.len().min(MOST)) as usize
}

fn refusal(kind: ErrorKind, what: &'static str) -> io::Error {
    io::Error::new(kind, what)
}

fn is_null(path: &Path) -> bool {
    path == Path::new(if cfg!(windows) { "NUL" } else { "/dev/null" })
}

#[cfg(unix)]
fn is_pipe(about: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    about.file_type().is_fifo()
}

#[cfg(not(unix))]
fn is_pipe(_: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_read_and_a_folder_is_said_to_be_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("text");
        fs::write(&file, "\u{feff}é\u{feff}").expect("written");
        assert_eq!(read_to_string(&file).expect("a text"), "é\u{feff}");
        fs::write(&file, "é").expect("written");
        assert_eq!(read_to_string(&file).expect("a text"), "é");
        assert_eq!(read(&file).expect("bytes"), "é".as_bytes());
        let refused = read(folder.path()).expect_err("a folder");
        assert_eq!(refused.kind(), ErrorKind::IsADirectory);
        let missing = open(folder.path().join("none")).expect_err("nothing there");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn a_named_pipe_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).expect("a link");
        for path in [&pipe, &link] {
            let refused = open(path).expect_err("a pipe");
            assert!(refused.to_string().contains("named pipe"), "{refused}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn an_endless_device_is_refused_and_an_empty_one_is_not() {
        assert!(open("/dev/zero").is_err());
        assert!(read("/dev/null").expect("nothing").is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_pipe_of_a_shell_is_read() {
        use std::os::fd::AsRawFd;
        let (reader, mut writer) = io::pipe().expect("a pipe");
        writer.write_all(b"piped").expect("written");
        drop(writer);
        let path = format!("/dev/fd/{}", reader.as_raw_fd());
        assert_eq!(read(path).expect("bytes"), b"piped");
    }
}
