//! Everything that can stop a download, worded for the person who waits for it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitnet_files::Sha256Hex;
use indicatif::HumanBytes;

use super::answer::AskError;
use super::source::Source;

/// Why the file did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Checked before the transfer, or before starting over.
    #[error(
        "not enough disk space in {folder}\n\n  \
         still to download: {remaining}\n  kept free:         50 MB\n  available:         {available}\n\n\
         Solution: free some space (cargo xtask clean-cache shows what this project holds) or choose another folder",
        folder = folder.display(), remaining = HumanBytes(*remaining), available = HumanBytes(*available)
    )]
    NoSpace {
        /// The folder written to.
        folder: PathBuf,
        /// Bytes still to come.
        remaining: u64,
        /// Bytes free there.
        available: u64,
    },
    /// The disk filled up during the transfer.
    #[error(
        "the disk is full: {part} holds {held}\n\n\
         Solution: free some space and run the same command again; it continues from there",
        part = part.display(), held = HumanBytes(*held)
    )]
    DiskFull {
        /// What has arrived.
        part: PathBuf,
        /// Bytes in it.
        held: u64,
    },
    /// HTTP 401 or 403.
    #[error(
        "{source_name}: access denied (HTTP {status}{token}){said}",
        token = if *had_token { "; a token was sent" } else { "; no token was sent" }, said = sentence(said)
    )]
    Auth {
        /// Where from.
        source_name: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token went with the request.
        had_token: bool,
        /// The server's own sentence.
        said: Option<String>,
    },
    /// HTTP 429 to the end.
    #[error(
        "{source_name}: too many requests (HTTP 429), tried {tries} times{pause}\n\n\
         Solution: wait and run the same command again, raise --retries or --max-wait, or set HF_TOKEN",
        pause = asked_pause(*retry_after)
    )]
    RateLimited {
        /// Where from.
        source_name: String,
        /// Tries made.
        tries: u32,
        /// The pause the server last asked for.
        retry_after: Option<Duration>,
    },
    /// The bytes are not the ones asked for.
    #[error(
        "hash mismatch for {file}\n\n  expected SHA256: {expected}\n  found SHA256:    {found}\n\n\
         The file was removed. Solution: check the expected hash and run the command again",
        file = file.display()
    )]
    HashMismatch {
        /// The final path.
        file: PathBuf,
        /// What was asked for.
        expected: Sha256Hex,
        /// What came.
        found: Sha256Hex,
    },
    /// The bytes are not the ones that the server announced.
    #[error(
        "{source_name}: the file arrived damaged\n\n  announced SHA256: {announced}\n  received SHA256:  {found}\n\n\
         What arrived was removed. Solution: run the same command again; if it stays so, try another mirror"
    )]
    Damaged {
        /// Where from.
        source_name: String,
        /// What the server said the file has.
        announced: Sha256Hex,
        /// What came.
        found: Sha256Hex,
    },
    /// The server's file cannot be the one asked for, or the one it announced.
    #[error(
        "{source_name}: the file has {found} bytes, expected {expected}; it cannot have the expected hash\n\n\
         Solution: check the address and the expected size; if the server announced another size itself, \
         try again or another mirror"
    )]
    SizeMismatch {
        /// Where from.
        source_name: String,
        /// What was asked for, or announced.
        expected: u64,
        /// What the server offers.
        found: u64,
    },
    /// What came is not what its name says.
    #[error(
        "{source_name}: what came is {found}\n\n\
         It was removed. Solution: check the address; if the repository is gated, accept its license on its \
         page and send a token"
    )]
    Impostor {
        /// Where from.
        source_name: String,
        /// What it is.
        found: &'static str,
    },
    /// No such file there.
    #[error("{source_name}: not found (HTTP {status}){said}", said = sentence(said))]
    NotFound {
        /// Where from.
        source_name: String,
        /// 404 or 410.
        status: u16,
        /// The server's own sentence.
        said: Option<String>,
    },
    /// Everything else between here and there.
    #[error("{source_name}: {cause} (attempt {attempt}/{attempts})")]
    Network {
        /// Where from.
        source_name: String,
        /// The last thing that went wrong.
        cause: String,
        /// The attempt that failed last.
        attempt: u32,
        /// Attempts allowed in a row.
        attempts: u32,
    },
    /// The caller's check of the finished file failed; the file was removed.
    #[error("{0}")]
    Rejected(String),
    /// Ctrl-C.
    #[error("interrupted{}", kept(part.as_ref()))]
    Interrupted {
        /// What has arrived, if anything, for the next run to continue.
        part: Option<PathBuf>,
    },
    /// The file system refused.
    #[error(
        "cannot {action} {path}: {source}\n\n\
         Solution: check that the folder exists and may be written to, or choose another",
        path = path.display()
    )]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DownloadError {
    /// What to do about an error whose own message is one line, so that a command may put it in its
    /// own words.
    pub fn advice(&self) -> Option<&'static str> {
        match self {
            Self::Network { .. } => Some(
                "Troubleshooting:\n\
                 1. Check internet connectivity\n\
                 2. Verify proxy settings (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY)\n\
                 3. Run the same command again: it continues where it stopped\n\
                 4. Try a mirror or a folder: --base-url <URL_OR_DIR> (docs/how-to/offline.md)",
            ),
            Self::NotFound { .. } => Some(
                "Solution: check the repository, the revision and the file name, and --base-url if it is set",
            ),
            Self::Auth { .. } => Some(
                "Setup instructions:\n\
                 1. If the repository is gated, accept its license on its page on https://huggingface.co\n\
                 2. Generate token: https://huggingface.co/settings/tokens\n\
                 3. Export token: export HF_TOKEN=<your-token>",
            ),
            _ => None,
        }
    }
}

impl DownloadError {
    /// No answer, or no usable one.
    pub(super) fn network(source: &Source, error: AskError, attempt: u32, attempts: u32) -> Self {
        let (AskError::Transient(cause) | AskError::Permanent(cause)) = error;
        Self::Network {
            source_name: source.to_string(),
            cause,
            attempt,
            attempts,
        }
    }

    /// The file system refused to do `action` to `path`.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match is_full(&source) {
            true => Self::DiskFull {
                part: path.to_owned(),
                held: 0,
            },
            false => Self::Io {
                action,
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// Whether the disk is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// What a server said, as the end of a line.
fn sentence(said: &Option<String>) -> String {
    said.as_ref()
        .map(|said| format!(": {said}"))
        .unwrap_or_default()
}

fn asked_pause(pause: Option<Duration>) -> String {
    pause
        .map(|pause| format!("; the server asks to wait {} s", pause.as_secs()))
        .unwrap_or_default()
}

fn kept(part: Option<&PathBuf>) -> String {
    part.map(|part| {
        format!(
            "; {} is kept, run the same command again to continue",
            part.display()
        )
    })
    .unwrap_or_default()
}
