//! The exit codes of `xtask`, in one table, so that scripts can branch on them and the reference page can list them.

use std::process::ExitCode;

/// Why `xtask` ended. A command with codes of its own returns them as an [`ExitCode`] instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All operations completed.
    Success = 0,
    /// Anything without a code of its own: a folder that cannot be written, a malformed lockfile, a failed check.
    Failure = 1,
    /// The command line was not understood (clap's own code).
    Usage = 2,
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
        (Self::Usage, "Usage", "Unknown flag or missing argument"),
    ];

    /// The code that stands for `error`.
    pub fn of(_error: &anyhow::Error) -> Self {
        Self::Failure
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
