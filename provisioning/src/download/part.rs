//! The partial file: appended to, hashed as it grows, and at the end renamed to its final name.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bitnet_files::{Hasher, Sha256Hex};

use bitnet_process::Interrupt;

/// What has arrived so far. The file exists once [`begin`](Self::begin) was called, or if an
/// earlier run left it.
pub(super) struct Part {
    path: PathBuf,
    file: Option<File>,
    hasher: Hasher,
    last: Option<u8>,
}

impl Part {
    /// The part at `path`, with what an earlier run left there; that is read once to continue its
    /// hash.
    pub(super) fn open(path: &Path, interrupt: &Interrupt) -> io::Result<Self> {
        let mut part = Self {
            path: path.to_owned(),
            file: None,
            hasher: Hasher::default(),
            last: None,
        };
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(mut file) => {
                part.hasher.read(&mut file, || interrupt.is_raised())?;
                if part.len() > 0 {
                    let mut last = [0];
                    file.seek(SeekFrom::End(-1))?;
                    file.read_exact(&mut last)?;
                    part.last = Some(last[0]);
                }
                part.file = Some(file);
                Ok(part)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(part),
            Err(error) => Err(error),
        }
    }

    /// Whether there is a file, be it empty.
    pub(super) fn exists(&self) -> bool {
        self.file.is_some()
    }

    /// Bytes held.
    pub(super) fn len(&self) -> u64 {
        self.hasher.len()
    }

    /// The last byte held.
    pub(super) fn last(&self) -> Option<u8> {
        self.last
    }

    /// SHA256 of the bytes held.
    pub(super) fn sha256(&self) -> Sha256Hex {
        self.hasher.digest()
    }

    /// Begin at nothing, creating the file if need be.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.file = Some(File::create(&self.path)?);
        self.hasher = Hasher::default();
        self.last = None;
        Ok(())
    }

    /// Add `bytes` at the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("the part was not begun"));
        };
        // A write that fails half-way leaves bytes beyond those counted. They are the right ones,
        // and the next run counts what it finds.
        file.write_all(bytes)?;
        self.count(bytes);
        Ok(())
    }

    /// Make the bytes durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_all)
    }

    /// Give the part its final name, and make that durable too.
    pub(super) fn rename_to(&mut self, file: &Path, folder: &Path) -> io::Result<()> {
        // Windows does not rename an open file.
        self.file = None;
        fs::rename(&self.path, file)?;
        sync_folder(folder)
    }

    /// Remove the file; the part is then as new.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        self.hasher = Hasher::default();
        self.last = None;
        if self.file.take().is_some() {
            fs::remove_file(&self.path)
        } else {
            Ok(())
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.last = bytes.last().copied().or(self.last);
    }
}

#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Other systems have no handle to a folder's entries; the rename itself is as durable as they make
/// it.
#[cfg(not(unix))]
fn sync_folder(_folder: &Path) -> io::Result<()> {
    Ok(())
}
