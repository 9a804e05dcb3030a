//! Whether a missing lane may be built.

use std::env;

use super::SetupError;

/// Set for every program that a build starts, so that none of them starts another build.
pub(crate) const GUARD_VARIABLE: &str = "BITNET_REPAIR_IN_PROGRESS";

/// What to do about a lane that is not as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RepairMode {
    /// Build it.
    Auto,
    /// Say how to build it.
    Never,
    /// Build it again even if it is as wanted.
    Always,
}

impl RepairMode {
    /// Builds where a person waits, not in CI, where a build must be a step of its own.
    pub fn by_environment() -> Self {
        if in_ci() { Self::Never } else { Self::Auto }
    }
}

/// Whether this runs in CI: `CI` is set to anything but nothing, `0` or `false`.
pub(crate) fn in_ci() -> bool {
    is_on(env::var("CI").ok().as_deref())
}

fn is_on(value: Option<&str>) -> bool {
    !matches!(value, None | Some("" | "0" | "false"))
}

/// Refuses to build from within a build.
pub(super) fn guard() -> Result<(), SetupError> {
    if is_on(env::var(GUARD_VARIABLE).ok().as_deref()) {
        Err(SetupError::Recursion)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_on;

    #[test]
    fn a_variable_is_on_when_it_says_something() {
        for (value, on) in [
            (None, false),
            (Some(""), false),
            (Some("0"), false),
            (Some("false"), false),
            (Some("1"), true),
            (Some("true"), true),
        ] {
            assert_eq!(is_on(value), on, "{value:?}");
        }
    }
}
