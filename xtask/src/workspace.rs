//! The root of this repository, found from where the user stands.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder at or above `start` that holds the workspace's `Cargo.toml`.
pub(crate) fn root_above(start: &Path) -> Option<PathBuf> {
    start
        .ancestors()
        .find(|folder| is_root(folder))
        .map(Path::to_owned)
}

/// The root above the current folder.
///
/// # Errors
/// The current folder is not inside the repository.
pub fn root() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir()?;
    root_above(&here).ok_or_else(|| {
        anyhow::anyhow!(
            "{} is not inside a workspace. Solution: run this from the repository",
            here.display()
        )
    })
}

/// The commit that is checked out here, where there is a repository and a git to ask.
pub fn commit() -> Option<String> {
    let asked = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .output()
        .ok()?;
    let said = String::from_utf8(asked.stdout).ok()?;
    let hash = said.trim();
    (asked.status.success() && !hash.is_empty()).then(|| hash.to_owned())
}

fn is_root(folder: &Path) -> bool {
    let manifest = bitnet_files::read_to_string(folder.join("Cargo.toml"));
    manifest.is_ok_and(|text| text.lines().any(|line| line.trim() == "[workspace]"))
}
