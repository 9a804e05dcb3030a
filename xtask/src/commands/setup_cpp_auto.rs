//! `xtask setup-cpp-auto`: the reference lanes into the cache, whatever is missing of them.

use std::path::Path;
use std::process::ExitCode;

use bitnet_crossval::lane::{CACHE_VARIABLE, Lane};
use bitnet_process::{note, say};

use super::lane_args::LaneArgs;
use crate::Exit;

/// Flags of `xtask setup-cpp-auto`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which lanes and how much to tell.
    #[command(flatten)]
    pub lanes: LaneArgs,

    /// Build again even if the lane is as wanted
    #[arg(long)]
    pub force: bool,

    /// Print nothing on standard output but the variables that name the cache and the references,
    /// in the syntax of a shell: eval "$(cargo xtask setup-cpp-auto --emit=sh)". The
    /// references are static libraries, so no library path is needed
    #[arg(long, value_name = "SHELL")]
    pub emit: Option<Shell>,
}

/// Whose syntax to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shell {
    /// sh, bash, zsh
    Sh,
    /// fish
    Fish,
    /// PowerShell
    Pwsh,
    /// cmd.exe
    Cmd,
}

/// Build what is missing.
///
/// # Errors
/// See [`SetupError`](crate::lanes::SetupError).
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let provision = args.lanes.provision()?;
    let mut failed = None;
    for lane in args.lanes.lanes() {
        match provision.build(lane, args.force) {
            Ok(ready) if args.emit.is_none() => {
                say!("{}: {}", lane.reference(), ready.program.display());
                say!(
                    "  {}, built in {:.0} s",
                    ready.manifest.reference,
                    ready.manifest.seconds
                );
            }
            Ok(_) => {}
            // The other lane is built all the same.
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    note!("Error: {earlier}\n");
                }
            }
        }
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    if let Some(shell) = args.emit {
        say!(
            "{}",
            shell.assignment(CACHE_VARIABLE, provision.home().path())
        );
        for lane in Lane::CPP {
            let folder = provision.reference_folder(lane)?;
            if let Some(variable) = lane.directory_variable() {
                say!("{}", shell.assignment(variable, &folder));
            }
        }
    }
    Ok(Exit::Success.into())
}

impl Shell {
    fn assignment(self, name: &str, value: &Path) -> String {
        let value = value.display().to_string();
        match self {
            Self::Sh => format!("export {name}='{}'", value.replace('\'', r"'\''")),
            Self::Fish => {
                format!(
                    "set -gx {name} '{}'",
                    value.replace('\\', r"\\").replace('\'', r"\'")
                )
            }
            Self::Pwsh => format!("$env:{name} = '{}'", value.replace('\'', "''")),
            Self::Cmd => format!("set \"{name}={value}\""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_survive_quotes_in_paths() {
        let path = Path::new("/a b/it's");
        for (shell, text) in [
            (Shell::Sh, r"export X='/a b/it'\''s'"),
            (Shell::Fish, r"set -gx X '/a b/it\'s'"),
            (Shell::Pwsh, "$env:X = '/a b/it''s'"),
            (Shell::Cmd, "set \"X=/a b/it's\""),
        ] {
            assert_eq!(shell.assignment("X", path), text);
        }
    }
}
