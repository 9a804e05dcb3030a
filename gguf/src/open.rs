//! Opening a model by its path: one file, or all of several.

use std::path::Path;

use crate::map::JoinedMap;
use crate::parts::{self, Place};
use crate::{Error, Gguf};

impl Gguf {
    /// Maps the file at `path` and reads its header. Where it is a part of a model in several files
    /// (`NAME-00001-of-00003.gguf`, as `gguf-split` writes them), all of them are mapped, whichever
    /// is named: the result has the metadata of the first and the tensors of all.
    ///
    /// The file must not be truncated or written to while the result lives: the bytes are not
    /// copied, and reading beyond a file's new end stops the process; [`Gguf::check_whole`] tells
    /// before. Replacing it by renaming
    /// another over it is safe.
    ///
    /// # Errors
    /// [`Error::Open`] and [`Error::NotAFile`] where there is nothing to map; else what is wrong
    /// with the file; [`Error::Split`] and [`Error::InPart`] for one in several parts.
    pub fn open(path: impl AsRef<Path>) -> Result<Gguf, Error> {
        let path = path.as_ref();
        let (gguf, _) = Self::open_one(path)?;
        match parts::place(gguf.metadata())? {
            None => Ok(gguf),
            Some(place) => join(path, place),
        }
    }
}

/// Opens all parts of the model of which `path` is the one at `place`.
fn join(path: &Path, place: Place) -> Result<Gguf, Error> {
    let paths = place.paths(path)?;
    let missing: Vec<String> = paths
        .iter()
        .filter(|path| !path.exists())
        .map(|path| path.display().to_string())
        .collect();
    if !missing.is_empty() {
        let all = missing.join(", ");
        return Err(place.error(format!("{all} missing; put all parts into one folder")));
    }
    let (mut opened, mut files) = (Vec::new(), Vec::new());
    for (number, path) in (0..).zip(&paths) {
        let in_part = |source| Error::InPart {
            path: path.clone(),
            source: Box::new(source),
        };
        let (part, file) = Gguf::open_one(path).map_err(in_part)?;
        let here = parts::place(part.metadata()).map_err(in_part)?;
        if here != Some(place.other(number)) {
            let found = here.map_or("a whole model".to_owned(), |found| found.to_string());
            return Err(place.error(format!(
                "{} says that it is {found}; it belongs to another model",
                path.display()
            )));
        }
        opened.push(part);
        files.push(file);
    }
    let map = JoinedMap::new(files).map_err(|source| Error::Open {
        path: path.to_owned(),
        source,
    })?;
    let wanted = opened[0].metadata().opt_u64("split.tensors.count")?;
    let found = opened.iter().map(|part| part.tensors().len() as u64).sum();
    if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
        return Err(place.error(format!(
            "{wanted} tensors are announced, the parts hold {found}; they belong to different models"
        )));
    }
    Gguf::joined(opened, map)
}
