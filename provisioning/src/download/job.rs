//! What is asked of the downloader, and how it ends.

use std::path::Path;

use bitnet_files::Sha256Hex;

use super::place::Place;
use super::progress::Progress;
use super::proxies::Proxies;
use super::retry::RetryPolicy;
use super::source::Source;
use super::token::Token;
use bitnet_process::Interrupt;

/// A check of the finished file, run before it gets its final name; an `Err` says why it will not
/// do.
pub type Check<'a> = &'a dyn Fn(&Path) -> Result<(), String>;

/// One file to bring.
pub struct Job<'a> {
    /// Where from.
    pub source: Source,
    /// Where to.
    pub place: Place,
    /// The SHA256 it must have.
    pub sha256: Option<Sha256Hex>,
    /// The length it must have, in bytes.
    pub size: Option<u64>,
    /// Sent to a web server over https, and to this machine.
    pub token: Option<Token>,
    /// Download even if the file is there, from the first byte.
    pub force: bool,
    /// Keep `.etag` and `.lastmod` beside the file, to ask only for changes the next time.
    pub keep_validators: bool,
    /// What else the file must pass.
    pub check: Option<Check<'a>>,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The file was already there and is the one asked for.
    UpToDate {
        /// Its hash, if one was asked for.
        sha256: Option<Sha256Hex>,
    },
    /// It is new.
    Downloaded {
        /// Length in bytes.
        bytes: u64,
        /// Computed while it arrived.
        sha256: Sha256Hex,
    },
}

/// Runs jobs; see [`Downloader::fetch`].
#[derive(Debug, Clone)]
pub struct Downloader {
    /// Limits on patience.
    pub retry: RetryPolicy,
    /// Which proxies are between here and there.
    pub proxies: Proxies,
    /// Stops a job from outside.
    pub interrupt: Interrupt,
    /// What to show.
    pub progress: Progress,
}
