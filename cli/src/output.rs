//! Files that are written: whole when they have their name, and never in an input's place.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use bitnet_engine::gguf::MAGIC;
use bitnet_files::AtomicFile;

/// Begins a file for `place`, which must be none of `inputs`.
pub(crate) fn create(place: &Path, inputs: &[Option<&Path>]) -> Result<AtomicFile> {
    let inputs = inputs.iter().copied().flatten();
    if let Some(input) = bitnet_files::same_place(place, inputs) {
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
