//! The exit codes of `xtask`, in one table, so that scripts can branch on them and the reference
//! page can list them.

use std::io;
use std::process::ExitCode;

use bitnet_crossval::compare::PromptError;
use bitnet_provisioning::download::{DownloadError, HubFileError};

use crate::commands::tokenizer_error::TokenizerError;
use crate::environment::TokenError;
use crate::lanes::SetupError;

/// The command line was understood, but names something that cannot be worked with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Why `xtask` ended. A command with codes of its own returns them as an [`ExitCode`] instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All operations completed.
    Success = 0,
    /// Anything without a code of its own: a folder that cannot be written, a malformed lockfile, a
    /// failed check.
    Failure = 1,
    /// The command line was not understood (clap's own code), or names what cannot be a file or a
    /// repository; a lane is not there and must not be built; the tokenizers of the two sides
    /// differ.
    Usage = 2,
    /// The sources of a reference could not be fetched.
    RepairNetwork = 3,
    /// The cache of the references cannot be written.
    RepairPermission = 4,
    /// A reference or its lane did not build.
    RepairBuild = 5,
    /// A build of the lanes was started by a build of the lanes.
    RepairRecursion = 6,
    /// The disk is full, or would be.
    NoSpace = 10,
    /// 401, 403, or no usable `HF_TOKEN` where one is needed.
    Auth = 11,
    /// 429 to the end.
    RateLimited = 12,
    /// The bytes are not the ones asked for.
    HashMismatch = 13,
    /// Connections, timeouts, 404.
    Network = 14,
    /// There is no baseline that a measurement could be compared with.
    NoBaseline = 15,
    /// A measurement is slower than its baseline by more than the tolerance.
    Slower = 16,
    /// Ctrl-C.
    Interrupted = 130,
}

impl Exit {
    /// Every code with its meaning and common causes, in ascending order.
    pub const TABLE: &[(Self, &str, &str)] = &[
        (Self::Success, "Success", "All operations completed"),
        (
            Self::Failure,
            "Failure",
            "A failed check, an unwritable folder, a malformed file",
        ),
        (
            Self::Usage,
            "Usage",
            "Unknown flag, missing argument, a file name with `..`; a lane missing with repair disabled; tokens that differ",
        ),
        (
            Self::RepairNetwork,
            "Network failure of a repair",
            "No connection to the registry or the repository of a reference",
        ),
        (
            Self::RepairPermission,
            "Permission denied to a repair",
            "The cache of the references is not writable",
        ),
        (
            Self::RepairBuild,
            "Build failure of a repair",
            "A missing cmake or compiler, C++ that does not compile",
        ),
        (
            Self::RepairRecursion,
            "Recursion",
            "A repair that was started by a repair",
        ),
        (Self::NoSpace, "No space", "Disk full, insufficient space"),
        (Self::Auth, "Auth error", "401/403, invalid HF_TOKEN"),
        (Self::RateLimited, "Rate limited", "429, too many requests"),
        (
            Self::HashMismatch,
            "Hash mismatch",
            "SHA256 verification failed",
        ),
        (
            Self::Network,
            "Network error",
            "Connection issues, 404, timeouts",
        ),
        (
            Self::NoBaseline,
            "No baseline",
            "Nothing was measured yet on this CPU model, with this device and model",
        ),
        (
            Self::Slower,
            "Slower",
            "Prefill or decode lost more than the tolerance, twice in a row",
        ),
        (Self::Interrupted, "Interrupted", "Ctrl-C during operation"),
    ];

    /// The code that stands for `error`: that of the first cause that has one.
    pub fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(Self::of_cause)
            .unwrap_or(Self::Failure)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(error) = cause.downcast_ref::<DownloadError>() {
            return Some(match error {
                DownloadError::NoSpace { .. } | DownloadError::DiskFull { .. } => Self::NoSpace,
                DownloadError::Auth { .. } => Self::Auth,
                DownloadError::RateLimited { .. } => Self::RateLimited,
                DownloadError::HashMismatch { .. }
                | DownloadError::Damaged { .. }
                | DownloadError::SizeMismatch { .. }
                | DownloadError::Impostor { .. } => Self::HashMismatch,
                DownloadError::NotFound { .. } | DownloadError::Network { .. } => Self::Network,
                DownloadError::Interrupted { .. } => Self::Interrupted,
                DownloadError::Rejected(_) | DownloadError::Io { .. } => Self::Failure,
            });
        }
        if let Some(error) = cause.downcast_ref::<HubFileError>() {
            return Some(match error {
                HubFileError::NotInFolder { .. } => Self::Network,
                _ => Self::Usage,
            });
        }
        if let Some(error) = cause.downcast_ref::<SetupError>() {
            return Some(Self::of_setup(error));
        }
        if cause.is::<UsageError>() || cause.is::<PromptError>() {
            return Some(Self::Usage);
        }
        if cause.is::<TokenError>() {
            return Some(Self::Auth);
        }
        matches!(cause.downcast_ref(), Some(TokenizerError::Auth { .. })).then_some(Self::Auth)
    }
}

impl Exit {
    fn of_setup(error: &SetupError) -> Self {
        match error {
            SetupError::Unavailable { .. } | SetupError::NoSuchVersion { .. } => Self::Usage,
            SetupError::Network { .. } => Self::RepairNetwork,
            SetupError::Permission { .. } => Self::RepairPermission,
            SetupError::MissingTool { .. } | SetupError::Build { .. } => Self::RepairBuild,
            SetupError::Recursion => Self::RepairRecursion,
            SetupError::Source { .. } => Self::HashMismatch,
            SetupError::Interrupted => Self::Interrupted,
            SetupError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Self::NoSpace
            }
            SetupError::Installation { .. } | SetupError::NoCache => Self::Usage,
            SetupError::Io { .. } | SetupError::Unusable { .. } => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
