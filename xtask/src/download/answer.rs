//! One request and what may come back, whether from a web server or from a folder.

use std::io::Read;
use std::time::Duration;

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
    Status {
        code: u16,
        retry_after: Option<Duration>,
    },
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
    pub(super) reader: Box<dyn Read>,
}

/// No answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// May work the next time.
    Transient(String),
    /// Will not.
    Permanent(String),
}
