//! `xtask clean-cache`: frees what this project keeps on disk, after asking. Only the folders
//! listed, and nothing that a symbolic link leads to.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use bitnet_process::say;
use indicatif::HumanBytes;

use crate::{Exit, workspace};

/// In the repository.
const IN_REPOSITORY: [&str; 3] = ["target", "crossval/fixtures", "models"];
/// In the home folder.
const IN_HOME: &str = ".cache/bitnet_cpp";

/// Flags of `xtask clean-cache`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove without asking
    #[arg(long, short)]
    pub yes: bool,

    /// Only list the folders and their sizes
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

/// List the folders, ask for each, remove what was agreed to.
///
/// # Errors
/// A folder could not be removed whole.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let root = workspace::root()?;
    let mut candidates: Vec<_> = IN_REPOSITORY
        .iter()
        .map(|name| (root.clone(), *name))
        .collect();
    candidates.extend(
        std::env::home_dir()
            .filter(|home| home.is_dir())
            .map(|home| (home, IN_HOME)),
    );

    let mut freed = 0;
    for (base, name) in candidates {
        let folder = base.join(name);
        match state(&base, name) {
            State::Absent => say!("{}: not there", folder.display()),
            State::Elsewhere => say!(
                "{}: skipped, a symbolic link leads out of it",
                folder.display()
            ),
            State::Folder => {
                let size = size_of(&folder);
                say!("{}: {}", folder.display(), HumanBytes(size));
                if !args.dry_run && (args.yes || agreed(&folder)?) {
                    fs::remove_dir_all(&folder)
                        .with_context(|| format!("cannot remove {}", folder.display()))?;
                    say!("  removed");
                    freed += size;
                }
            }
        }
    }
    say!("Freed {}", HumanBytes(freed));
    Ok(Exit::Success.into())
}

enum State {
    Absent,
    /// It, or a folder on the way to it, is a link.
    Elsewhere,
    Folder,
}

/// What `base/name` is, following no link below `base`.
fn state(base: &Path, name: &str) -> State {
    let mut path = base.to_owned();
    for part in Path::new(name) {
        path.push(part);
        match fs::symlink_metadata(&path) {
            Ok(about) if about.is_dir() => {}
            Ok(about) if about.is_symlink() => return State::Elsewhere,
            _ => return State::Absent,
        }
    }
    State::Folder
}

/// Bytes in the files of a folder; a link counts as itself.
fn size_of(folder: &Path) -> u64 {
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    let mut size = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(about) if about.is_dir() => folders.push(entry.path()),
                Ok(about) => size += about.len(),
                Err(_) => {}
            }
        }
    }
    size
}

/// Ask; only a clear yes counts.
fn agreed(folder: &Path) -> anyhow::Result<bool> {
    write!(std::io::stdout(), "  Remove {}? [y/N] ", folder.display())?;
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
