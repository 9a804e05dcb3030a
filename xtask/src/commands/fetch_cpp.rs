//! `xtask fetch-cpp`: a named version of a C++ reference, built as its authors build it.

use std::process::ExitCode;

use bitnet_crossval::lane::Home;

use crate::Exit;
use crate::lanes::fetched::{Wanted, fetch};
use crate::lanes::{SetupError, Talk};
use bitnet_process::{Watch, say};

/// Flags of `xtask fetch-cpp`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Branch or tag to build
    #[arg(long, default_value = "b1-65-ggml")]
    pub tag: String,

    /// Repository to clone: an address, or a folder on this machine
    #[arg(
        long,
        value_name = "URL_OR_DIR",
        default_value = "https://github.com/microsoft/BitNet.git"
    )]
    pub repo: String,

    /// Build again even if it is built
    #[arg(long)]
    pub force: bool,

    /// Remove the clone and the build first
    #[arg(long)]
    pub clean: bool,

    /// Also print everything that git and CMake print
    #[arg(short, long)]
    pub verbose: bool,
}

/// Clone, build, validate.
///
/// # Errors
/// See [`SetupError`].
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let home = Home::named_by(std::env::var_os).ok_or(SetupError::NoCache)?;
    let wanted = Wanted {
        repo: args.repo.clone(),
        tag: args.tag.clone(),
        force: args.force,
        clean: args.clean,
    };
    let talk = if args.verbose { Talk::All } else { Talk::Steps };
    let watch = Watch::begin();
    let fetched = fetch(&wanted, &home, watch.interrupt(), talk)?;
    let found = if fetched.was_there {
        "Up to date"
    } else {
        "Built"
    };
    say!(
        "{found}: {} ({})",
        fetched.program.display(),
        fetched.version
    );
    say!("Clone and build: {}", fetched.folder.display());
    say!("To use it as a lane, set BITNET_CPP_DIR (or LLAMA_CPP_DIR) to that folder");
    Ok(Exit::Success.into())
}
