//! Models in several files, as `gguf-split` writes them.
//!
//! The files are called `NAME-00001-of-00003.gguf` and so on. Each is a GGUF file with tensors of
//! its own and the keys `split.no` (from 0 on), `split.count` and `split.tensors.count` (of all
//! parts); the first alone has the model's metadata. One file may carry `split.count = 1`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::{Error, Metadata};

/// The most parts that a model may have. Real ones have some tens.
const MOST_PARTS: u64 = 10_000;

/// Which of how many parts a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// From 0 on.
    number: u64,
    count: u64,
}

/// The place of the file with this metadata among its parts; `None` for a file that is whole.
pub(crate) fn place(metadata: &Metadata) -> Result<Option<Place>, Error> {
    let count = metadata.opt_u64("split.count")?.unwrap_or(0);
    if count <= 1 {
        return Ok(None);
    }
    let place = Place {
        number: metadata.u64("split.no")?,
        count,
    };
    match place.number < count {
        true => Ok(Some(place)),
        false => Err(Error::OutOfRange {
            key: "split.no".to_owned(),
            wanted: "a number below `split.count`",
            value: place.number.to_string(),
        }),
    }
}

impl Place {
    pub(crate) fn error(self, problem: String) -> Error {
        Error::Split {
            part: self.number + 1,
            count: self.count,
            problem,
        }
    }

    /// The error of a part that has no name to find the others by.
    pub(crate) fn without_path(self) -> Error {
        self.error("open it by the path of one of its files".to_owned())
    }

    /// The same model's part `number`, from 0 on.
    pub(crate) fn other(self, number: u64) -> Place {
        Place { number, ..self }
    }

    /// The paths of all parts, after the path of this one.
    pub(crate) fn paths(self, path: &Path) -> Result<Vec<PathBuf>, Error> {
        // What `split.count` says may be anything.
        if self.count > MOST_PARTS {
            return Err(self.error(format!("at most {MOST_PARTS} are taken seriously")));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let suffix = |number: u64| format!("-{:05}-of-{:05}.gguf", number + 1, self.count);
        let wanted = suffix(self.number);
        let Some(stem) = name.strip_suffix(&wanted) else {
            return Err(self.error(format!(
                "its name must end in `{wanted}`, so that the others can be found beside it; \
                 give it that name again"
            )));
        };
        let paths = (0..self.count).map(|number| {
            let name = format!("{stem}{}", suffix(number));
            path.with_file_name(name)
        });
        Ok(paths.collect())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part {} of {}", self.number + 1, self.count)
    }
}
