//! `xtask preflight`: are the reference lanes there, as wanted, and working? Builds what is not,
//! where that is allowed.

use std::process::ExitCode;

use bitnet_crossval::lane::Lane;
use bitnet_process::{note, say};

use super::lane_args::{LaneArgs, RepairArgs};
use crate::Exit;
use crate::lanes::{Provision, Ready, in_ci, tools};

/// Flags of `xtask preflight`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which lanes and how much to tell.
    #[command(flatten)]
    pub lanes: LaneArgs,

    /// Whether to build.
    #[command(flatten)]
    pub repair: RepairArgs,
}

/// Check, and repair where allowed.
///
/// # Errors
/// A lane that is not there in the end (the last, where both are not; the other is printed); see
/// [`SetupError`](crate::lanes::SetupError).
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let provision = args.lanes.provision()?;
    let mode = args.repair.mode();
    if args.lanes.verbose {
        say!("cache: {}", provision.home().path().display());
        say!(
            "repair: {mode:?}{}",
            if in_ci() { " (CI is set)" } else { "" }
        );
        for tool in tools::TOOLS {
            let found = tools::find(tool.name);
            let shown = found.map_or("not found".to_owned(), |path| path.display().to_string());
            say!("{}: {shown}", tool.name);
        }
    }
    let mut failed = None;
    for lane in args.lanes.lanes() {
        say!("Preflight: checking {} backend", lane.reference());
        match provision.ensure(lane, mode) {
            Ok(ready) => tell(&provision, lane, &ready, args.lanes.verbose)?,
            // The other lane is looked at all the same.
            Err(error) => {
                if let Some(earlier) = failed.replace(error) {
                    note!("Error: {earlier}\n");
                }
            }
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Exit::Success.into()),
    }
}

fn tell(provision: &Provision, lane: Lane, ready: &Ready, verbose: bool) -> anyhow::Result<()> {
    say!(
        "  {} backend available: {}",
        lane.reference(),
        ready.manifest.reference
    );
    if verbose {
        if let Some(variable) = lane.directory_variable() {
            let named = provision.home().installation(lane);
            say!(
                "  {variable}: {}",
                named.map_or("not set, the pinned source is used".to_owned(), |p| p
                    .display()
                    .to_string())
            );
        }
        say!(
            "  reference: {}",
            provision.reference_folder(lane)?.display()
        );
        say!("  program: {}", ready.program.display());
        say!("  fingerprint: {}", ready.manifest.fingerprint);
        say!("  compiled for: {}", ready.hello.system);
        say!(
            "  built in {:.0} s; evaluates a small model of the repository",
            ready.manifest.seconds
        );
    }
    Ok(())
}
