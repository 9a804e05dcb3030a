//! The one downloader: brings a file from a web server or a local folder to its place, whole or not
//! at all.
//!
//! What it promises, whatever the other side does:
//! - the file under its final name is complete, and if a SHA256 or a check was asked for, has
//!   passed it;
//! - what was received before an interruption stays in a `.part` file and is used again, if the
//!   server still has the same bytes;
//! - one process writes at a time; a lock left by a killed process does not block the next;
//! - nothing remains but the files of [`Place`].
//!
//! It knows nothing of models or tokenizers; the commands do.
//!
//! HTTP is `ureq` with rustls, not `reqwest`: one blocking stream is all that is needed, and `ureq`
//! brings neither an async runtime nor an HTTP/2 stack (about a third of the crates to build),
//! while offering a time limit per read and a way to stop a request from the Ctrl-C handler.

mod answer;
mod error;
mod folder;
mod http;
mod hub;
mod interrupt;
mod job;
mod lock;
mod pace;
mod part;
mod place;
mod progress;
mod retry;
mod sha;
mod space;
mod token;
mod transfer;
mod validators;

pub use error::DownloadError;
pub use hub::{DEFAULT_BASE_URL, HubFile, HubFileError, Origin, RepoId};
pub use interrupt::Interrupt;
pub use job::{Check, Downloader, Job, Outcome};
pub use lock::{Lock, LockError};
pub use part::hash_file;
pub use place::Place;
pub use progress::Progress;
pub use retry::RetryPolicy;
pub use sha::{Sha256Hex, Sha256HexError};
pub use token::{Token, TokenFormatError};

/// Where a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An `http://` or `https://` address.
    Web(String),
    /// A file on this machine, copied with the same guarantees.
    File(std::path::PathBuf),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Web(url) => f.write_str(url),
            Self::File(path) => path.display().fmt(f),
        }
    }
}
