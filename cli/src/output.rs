//! [`OutputFile`]: a file that is whole when it has its name, and never takes an input's place.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// A file that is being written beside its place. Dropped unfinished, it leaves nothing.
pub(crate) struct OutputFile {
    place: PathBuf,
    /// Where it is written; none where the place is a device or a pipe.
    part: Option<PathBuf>,
    writer: BufWriter<File>,
}

impl OutputFile {
    /// Begins a file for `place`, which must be none of `inputs`.
    pub(crate) fn create(place: &Path, inputs: &[Option<&Path>]) -> Result<OutputFile> {
        let shown = || format!("output file {}", place.display());
        let there = fs::canonicalize(place).ok();
        let is_there = |input: &&Path| there.is_some() && fs::canonicalize(input).ok() == there;
        if let Some(input) = inputs.iter().flatten().find(|input| is_there(input)) {
            bail!(
                "{} is read from here; write to another file",
                input.display()
            );
        }
        // A link stays, and what it names is replaced.
        let place = there.unwrap_or_else(|| place.to_owned());
        let part = match place.exists() && !place.is_file() {
            true => None,
            false => Some(beside(&place).with_context(shown)?),
        };
        let file = match &part {
            Some(part) => File::create_new(part),
            None => File::options().write(true).open(&place),
        };
        Ok(OutputFile {
            writer: BufWriter::new(file.with_context(shown)?),
            place,
            part,
        })
    }

    /// Puts it in its place.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        self.writer.flush()?;
        match &self.part {
            Some(part) => {
                fs::rename(part, &self.place)?;
                self.part = None;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// A name of its own in the folder of `place`.
fn beside(place: &Path) -> io::Result<PathBuf> {
    let name = place
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::IsADirectory))?;
    let part = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
    Ok(place.with_file_name(part))
}

impl Write for OutputFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            let _ = fs::remove_file(part);
        }
    }
}
