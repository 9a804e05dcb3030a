//! `xtask gen-baselines`: measures how fast the CPU kernels are here, and writes it down.

use std::process::ExitCode;

use anyhow::Context as _;
use bitnet_crossval::receipt::Baselines;

use super::BaselineArgs;
use crate::Exit;

/// Flags of `xtask gen-baselines`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Measure on a machine that does nothing else. The baseline is put into the file of today, beside those of other CPUs, devices, \
models and workloads, and replaces the one that has all of these in common with it.")]
pub struct Args {
    #[command(flatten)]
    baseline: BaselineArgs,
}

/// Measure and write.
///
/// # Errors
/// The model does not run, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // First, so that a file that cannot be added to is told before the measuring.
    let path = args.baseline.today();
    let mut file = if path.exists() {
        Baselines::read(&path)?
    } else {
        Baselines::new()
    };
    let new = args.baseline.subject()?.measure()?;
    println!("{}, {}", new.key.cpu, new.key.device);
    println!(
        "{}: prefill {} at {:.1} tokens/s, decode {} at {:.1} tokens/s",
        new.model, new.key.prompt_tokens, new.prefill_tps, new.key.gen_tokens, new.cpu_tps
    );
    println!("kernels: {}", new.cpu_kernels.join(", "));
    file.put(new);
    file.write(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(Exit::Success.into())
}
