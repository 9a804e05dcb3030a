//! The one downloader: brings a file from a web server or a local folder to its place, whole or not
//! at all.
//!
//! What it promises, whatever the other side does:
//! - the file under its final name is complete, has the length and the SHA-256 that the server
//!   announced or that were asked for, is no page or pointer in place of a model, and has passed
//!   the caller's check;
//! - what was received before an interruption stays in a `.part` file and is used again, if the
//!   server still has the same bytes;
//! - one process writes at a time; a lock left by a killed process does not block the next;
//! - nothing remains but the files of [`Place`].
//!
//! It knows nothing of tokenizers or caches; its callers do.

mod answer;
mod content;
mod error;
mod fetch;
mod folder;
mod http;
mod hub;
mod job;
mod pace;
mod part;
mod place;
mod progress;
mod proxies;
mod receive;
mod retry;
mod source;
mod space;
mod token;
mod transfer;
mod validators;

pub use error::DownloadError;
pub use hub::{DEFAULT_BASE_URL, HubFile, HubFileError, Origin, RepoId};
pub use job::{Check, Downloader, Job, Outcome};
pub use place::Place;
pub use progress::Progress;
pub use proxies::{Proxies, ProxySetting};
pub use retry::RetryPolicy;
pub use source::Source;
pub use token::{Token, TokenFormatError};
