//! Builds the C++ of a reference from its pinned source.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitnet_crossval::digest;
use bitnet_crossval::lane::{Home, Lane};

use super::SetupError;
use super::folder::Partial;
use super::package::{Package, unpack};
use super::process::{Runner, remove};
use super::program::manifest_of;
use super::recipe::{Patch, Recipe};
use super::tools;

/// Where the build of `package` by the recipe of `lane` is, or will be.
pub(super) fn folder(home: &Home, lane: Lane, package: &Package, recipe: &Recipe) -> PathBuf {
    let key = digest::of_bytes(format!("{}{}", package.checksum, recipe.text()).as_bytes());
    home.references()
        .join(format!("{}-{}-{}", lane.name(), package.version, &key[..8]))
}

/// Builds the reference of `lane` into its [`folder`], and removes builds that this one replaces.
pub(super) fn build(
    runner: &mut Runner<'_>,
    root: &Path,
    home: &Home,
    lane: Lane,
    package: &Package,
    recipe: &Recipe,
) -> Result<PathBuf, SetupError> {
    for tool in ["cmake", "tar"].into_iter().chain(recipe.compilers) {
        tools::require(tool, lane.reference())?;
    }
    let archive = package.fetch(runner, &manifest_of(root, lane))?;
    let target = folder(home, lane, package, recipe);
    let partial = Partial::beside(&target)?;
    unpack(runner, &archive, partial.path())?;
    for patch in recipe.patches {
        apply(runner, partial.path(), patch)?;
    }
    let (source, binary) = (
        partial.path().join(recipe.project),
        partial.path().join("build"),
    );
    let mut configure = Command::new("cmake");
    configure
        .arg("-S")
        .arg(source)
        .arg("-B")
        .arg(&binary)
        .args(recipe.configure());
    runner.run("configure", &mut configure)?;
    runner.run("compile", &mut compile(&binary, Some(recipe.target())))?;
    partial.finish()?;
    remove_others(home, lane, &target)?;
    Ok(target)
}

/// The CMake call that builds `target`, or everything, with all processors.
pub(super) fn compile(binary: &Path, target: Option<&str>) -> Command {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = Command::new("cmake");
    command.arg("--build").arg(binary).args([
        "--config",
        "Release",
        "--parallel",
        &workers.to_string(),
    ]);
    if let Some(target) = target {
        command.args(["--target", target]);
    }
    command
}

/// Applies a patch and makes sure that every file of it was patched: inside another repository, git
/// skips files silently.
fn apply(runner: &mut Runner<'_>, package: &Path, patch: &Patch) -> Result<(), SetupError> {
    tools::require("git", "the patched source")?;
    let file = package.join(patch.file);
    let text =
        bitnet_files::read_to_string(&file).map_err(|e| SetupError::io("read", file.clone(), e))?;
    let files = text
        .lines()
        .filter(|line| line.starts_with("diff --git "))
        .count();
    let mut command = Command::new("git");
    command
        .args(["apply", "--verbose", "--whitespace=nowarn"])
        .args(patch.exclude.iter().map(|name| format!("--exclude={name}")))
        .arg(&file)
        .current_dir(package.join(patch.folder))
        // The package is no repository: git must not find one above it.
        .env("GIT_CEILING_DIRECTORIES", package)
        .env_remove("GIT_DIR")
        .env("LC_ALL", "C");
    let said = runner.run(&format!("apply {}", patch.file), &mut command)?;
    let applied = said
        .lines()
        .filter(|line| line.starts_with("Applied patch "))
        .count();
    if applied + patch.exclude.len() == files {
        return Ok(());
    }
    Err(SetupError::Source {
        package: patch.file.to_owned(),
        problem: format!("{applied} of its {files} files were patched; git said:\n{said}"),
        path: package.to_owned(),
    })
}

/// Removes builds of other versions or recipes.
pub(super) fn remove_others(home: &Home, lane: Lane, keep: &Path) -> Result<(), SetupError> {
    let start = format!("{}-", lane.name());
    for entry in fs::read_dir(home.references())
        .into_iter()
        .flatten()
        .flatten()
    {
        let is_one = entry.file_name().to_string_lossy().starts_with(&start);
        if is_one && entry.path() != keep {
            remove(&entry.path())?;
        }
    }
    Ok(())
}
