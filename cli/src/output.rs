//! Files that are written: whole when they have their name, never in the place of something else.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bitnet_engine::gguf::MAGIC;
use bitnet_files::AtomicFile;

/// Begins a file of a `kind` such as `receipt` for `place`, where there is nothing yet, or by
/// `is_one` another of that kind: so no file that is read is lost, nor any other.
pub(crate) fn replace(
    place: &Path,
    kind: &str,
    is_one: impl FnOnce(&Path) -> bool,
) -> Result<AtomicFile> {
    let is_empty = |there: Metadata| !there.is_file() || there.len() == 0;
    if !fs::metadata(place).map_or(true, is_empty) && !is_one(place) {
        bail!(
            "{} holds something else than a {kind}; write to another file",
            place.display()
        );
    }
    create(place, None)
}

/// Begins a file for `place`, which must be neither `input` nor a model.
pub(crate) fn create(place: &Path, input: Option<&Path>) -> Result<AtomicFile> {
    if let Some(input) = bitnet_files::same_place(place, input) {
        bail!(
            "{} is read from here; write to another file",
            input.display()
        );
    }
    // It may be a part of the model that is read, or any other.
    let magic = |mut file: File| {
        let mut magic = [0; 4];
        file.read_exact(&mut magic).is_ok_and(|()| magic == MAGIC)
    };
    if place.is_file() && bitnet_files::open(place).is_ok_and(magic) {
        bail!("{} is a model; write to another file", place.display());
    }
    AtomicFile::create(place).with_context(|| format!("output file {}", place.display()))
}
