//! One request and what may come back, whether from a web server or from a folder.

use std::io::Read;
use std::time::Duration;

use bitnet_files::Sha256Hex;

use super::validators::Validators;

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ask<'a> {
    /// Everything.
    Whole,
    /// Everything, unless it is still this version.
    IfChanged(&'a Validators),
    /// The bytes from `start` on, if it is still this version.
    From { start: u64, version: &'a Validators },
}

/// What came back.
pub(super) enum Answer {
    /// 304: still the version named in [`Ask::IfChanged`].
    NotModified,
    /// 416: no such range.
    RangeRefused,
    /// 206, but without a `Content-Range` that fits what was asked.
    Misaligned(String),
    /// The bytes.
    Body(Body),
    /// Any other status.
    Status(Refusal),
}

/// A status that brings no bytes.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    /// The pause that the server asks for.
    pub(super) retry_after: Option<Duration>,
    /// The server's own sentence.
    pub(super) said: Option<String>,
}

/// Bytes on their way.
pub(super) struct Body {
    /// Where in the file they begin: 0, or the `start` that was asked for.
    pub(super) start: u64,
    /// Length of the whole file, if the other side says.
    pub(super) total: Option<u64>,
    /// Whether a cut connection can be told from the end.
    pub(super) end_is_marked: bool,
    pub(super) validators: Validators,
    pub(super) announced: Announced,
    pub(super) reader: Box<dyn Read>,
}

/// What the hub says of the file that its answer leads to (`X-Linked-Size`, `X-Linked-ETag`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Announced {
    /// Bytes of the whole file.
    pub(super) size: Option<u64>,
    pub(super) sha256: Option<Sha256Hex>,
}

/// No answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// May work the next time.
    Transient(String),
    /// Will not.
    Permanent(String),
}
