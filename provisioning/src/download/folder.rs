//! Reading from a local folder as if it were a server, so that copying a file gives the same
//! guarantees as fetching it.

use std::io::{Seek as _, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::answer::{Announced, Answer, Ask, AskError, Body, Refusal};
use super::validators::Validators;

pub(super) fn ask(path: &Path, ask: Ask<'_>) -> Result<Answer, AskError> {
    let failed = |error: std::io::Error| AskError::Permanent(error.to_string());
    let mut file = match bitnet_files::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Answer::Status(Refusal {
                code: 404,
                retry_after: None,
                said: None,
            }));
        }
        opened => opened.map_err(failed)?,
    };
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(AskError::Permanent("not a regular file".into()));
    }
    // Length and time stand for the version, as a file server makes its tags.
    let written = about
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .unwrap_or_default();
    let version = Validators {
        etag: Some(format!("\"{:x}-{:x}\"", about.len(), written.as_nanos())),
        last_modified: None,
    };
    let start = match ask {
        Ask::IfChanged(known) if known.etag == version.etag => return Ok(Answer::NotModified),
        Ask::From {
            start,
            version: known,
        } if known.etag == version.etag && start < about.len() => start,
        _ => 0,
    };
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    Ok(Answer::Body(Body {
        start,
        total: Some(about.len()),
        end_is_marked: true,
        validators: version,
        announced: Announced::default(),
        reader: Box::new(file),
    }))
}
