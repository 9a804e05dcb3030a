//! The programs that a build needs, and how to install the one that is missing.

use std::env;
use std::path::PathBuf;

use super::SetupError;

/// A program of the build.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    /// Its name on the `PATH`.
    pub name: &'static str,
    /// The Debian package that has it.
    pub debian: &'static str,
}

/// Every tool that some build needs.
pub const TOOLS: [Tool; 8] = [
    Tool {
        name: "cmake",
        debian: "cmake",
    },
    Tool {
        name: "clang",
        debian: "clang",
    },
    Tool {
        name: "clang++",
        debian: "clang",
    },
    Tool {
        name: "gcc",
        debian: "gcc",
    },
    Tool {
        name: "g++",
        debian: "g++",
    },
    Tool {
        name: "git",
        debian: "git",
    },
    Tool {
        name: "tar",
        debian: "tar",
    },
    Tool {
        name: "python3",
        debian: "python3-venv",
    },
];

/// All that the builds of the C++ lanes need, as Debian packages; libclang is for bindgen.
pub(crate) const DEBIAN_PACKAGES: &str = "cmake clang libclang-dev g++ git";

/// Check that `name` is on the `PATH`.
///
/// # Errors
/// [`SetupError::MissingTool`], with the command that installs it.
pub(crate) fn require(name: &'static str, what: &str) -> Result<PathBuf, SetupError> {
    find(name).ok_or_else(|| SetupError::MissingTool {
        what: what.to_owned(),
        tool: name,
        install: install(name),
    })
}

/// Where a program is.
pub fn find(name: &str) -> Option<PathBuf> {
    let file = format!("{name}{}", env::consts::EXE_SUFFIX);
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(&file))
        .find(|path| path.is_file())
}

fn install(name: &str) -> String {
    let package = TOOLS
        .iter()
        .find(|tool| tool.name == name)
        .map_or(name, |tool| tool.debian);
    if cfg!(target_os = "macos") {
        format!("xcode-select --install && brew install {package}")
    } else if cfg!(windows) {
        format!("install {package} (for instance with winget) and open a new terminal")
    } else {
        format!(
            "apt-get install {package} (or the like of your system; all that the lanes need: apt-get install \
             {DEBIAN_PACKAGES})"
        )
    }
}
