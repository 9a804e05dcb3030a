//! Everything that can keep a lane from being there, worded for the person who has to get it there.

use std::io;
use std::path::PathBuf;

/// Why a lane is not there.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A lane is missing or not as wanted, and nothing may be built.
    #[error(
        "{reference} backend not found (repair disabled): {reason}\n\n\
         Solution: cargo xtask setup-cpp-auto --backend {backend}\n\
         or let this command do it: cargo xtask preflight --repair=auto"
    )]
    Unavailable {
        /// The reference as people write it.
        reference: &'static str,
        /// Its short name.
        backend: &'static str,
        /// What was found.
        reason: String,
    },
    /// A program that the build needs is not on the `PATH`.
    #[error("cannot build {what}: `{tool}` was not found on the PATH\n\nSolution: {install}")]
    MissingTool {
        /// What wanted it.
        what: String,
        /// The program.
        tool: &'static str,
        /// How to install it.
        install: String,
    },
    /// The registry or the repository could not be reached.
    #[error(
        "{what}: the network failed\n\n{tail}\n\n\
         Solution: check the connection and the proxy settings (HTTPS_PROXY) and run the same command again; \
         docs/how-to/prove-parity.md says how to carry the sources to a machine without a network"
    )]
    Network {
        /// What was being done.
        what: String,
        /// The end of what was printed.
        tail: String,
    },
    /// The file system refused for want of permission.
    #[error(
        "cannot {action} {path}: {source}\n\n\
         Solution: make the folder writable, or choose another with BITNET_CPP_CACHE",
        path = path.display()
    )]
    Permission {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system refused for another reason.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A step of the build failed.
    #[error("{what} failed ({status}). Its last words:\n\n{tail}\n\nAll it said: {log}", log = log.display())]
    Build {
        /// The step.
        what: String,
        /// How the program ended.
        status: String,
        /// The end of what it printed.
        tail: String,
        /// Where all of it is.
        log: PathBuf,
    },
    /// The source is not the one that this repository pins.
    #[error(
        "{package}: {problem}\n\nSolution: remove {path} and run the same command again",
        path = path.display()
    )]
    Source {
        /// Name and version.
        package: String,
        /// What was expected and what was found.
        problem: String,
        /// The file.
        path: PathBuf,
    },
    /// The repository does not have the version.
    #[error(
        "{repo} has no branch or tag `{tag}`\n\nSolution: choose one of git ls-remote --tags --heads {repo}"
    )]
    NoSuchVersion {
        /// The repository.
        repo: String,
        /// What was asked for.
        tag: String,
    },
    /// A named installation is no such thing.
    #[error("{variable}={path}: {problem}", path = path.display())]
    Installation {
        /// The environment variable that names it.
        variable: &'static str,
        /// What it says.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// This build was started by a build.
    #[error(
        "a repair is already in progress ({variable} is set): a build of the lanes must not start another\n\n\
         Solution: if no repair is running, unset {variable}",
        variable = super::GUARD_VARIABLE
    )]
    Recursion,
    /// It was built, and does not work.
    #[error("{reference} was built, but does not work: {problem}")]
    Unusable {
        /// The reference as people write it.
        reference: &'static str,
        /// What was wrong.
        problem: String,
    },
    /// No place for a cache.
    #[error("there is no folder for a cache: set BITNET_CPP_CACHE to one")]
    NoCache,
    /// Ctrl-C.
    #[error("interrupted; what was half built is left out of the cache")]
    Interrupted,
}

impl SetupError {
    /// An error of the file system, by its kind.
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Permission {
                    action,
                    path,
                    source,
                }
            }
            _ => Self::Io {
                action,
                path,
                source,
            },
        }
    }
}
