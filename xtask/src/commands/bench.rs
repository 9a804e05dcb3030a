//! `xtask bench`: measures how fast the engine is here, into a receipt of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bitnet_crossval::receipt::BenchReceipt;
use bitnet_process::say;

use super::WorkloadArgs;
use crate::Exit;

/// Flags of `xtask bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
`gen-baselines` makes baselines of the receipts in ci/.")]
pub struct Args {
    #[command(flatten)]
    workload: WorkloadArgs,

    /// Folder for the receipt, which is named bench_MODEL.json
    #[arg(long, value_name = "FOLDER", default_value = "ci")]
    out: PathBuf,
}

/// Measure and write.
///
/// # Errors
/// The model does not run, or the receipt cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let measured = args.workload.subject()?.measure()?;
    say!("{}", measured.words());
    let path = BenchReceipt::of(measured)
        .write(&args.out)
        .with_context(|| format!("cannot write into {}", args.out.display()))?;
    say!("written to {}", path.display());
    Ok(Exit::Success.into())
}
