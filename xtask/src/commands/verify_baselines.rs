//! `xtask verify-baselines`: are the CPU kernels as fast here as they were?

use std::process::ExitCode;

use bitnet_crossval::receipt::{Baseline, Baselines};
use bitnet_process::say;

use super::BaselineArgs;
use crate::Exit;

/// Flags of `xtask verify-baselines`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Compares with the newest baseline of this CPU model, device, model and workload. A loss is measured once more before it \
counts. Exits with 16 for a loss, and with 15 when there is no such baseline.")]
pub struct Args {
    #[command(flatten)]
    baseline: BaselineArgs,

    /// The loss in percent that fails
    #[arg(long, default_value_t = 10.0, value_name = "PERCENT", value_parser = percent)]
    tolerance: f64,
}

/// Measure, compare, tell.
///
/// # Errors
/// The model does not run, or a file of baselines is none.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let files = args.baseline.files()?;
    let mut known = Vec::new();
    for path in files {
        let file = Baselines::read(&path)?;
        known.push((path, file));
    }
    let mut subject = args.baseline.workload.subject()?;
    let key = &subject.key;
    let found = known
        .iter()
        .find_map(|(path, file)| Some((path, file.find(key)?)));
    let Some((path, before)) = found else {
        say!(
            "There is no baseline for {}, {}, with {} ({} and {} tokens) in {}.",
            key.cpu,
            key.device,
            subject.name,
            key.prompt_tokens,
            key.gen_tokens,
            args.baseline.baselines.display()
        );
        say!("Make one on a quiet machine with: cargo xtask gen-baselines");
        return Ok(Exit::NoBaseline.into());
    };
    say!(
        "{}, {}, beside {} of {}",
        key.cpu,
        key.device,
        path.display(),
        before.timestamp
    );
    let mut now = subject.measure()?;
    if !lost(before, &now, args.tolerance) {
        tell(before, &now);
        return Ok(Exit::Success.into());
    }
    say!("a loss; measured once more:");
    let again = subject.measure()?;
    now.prefill_tps = now.prefill_tps.max(again.prefill_tps);
    now.cpu_tps = now.cpu_tps.max(again.cpu_tps);
    tell(before, &now);
    let gone: Vec<&str> = before
        .cpu_kernels
        .iter()
        .filter(|kernel| !now.cpu_kernels.contains(kernel))
        .map(String::as_str)
        .collect();
    if !gone.is_empty() {
        say!("  kernels that no longer ran: {}", gone.join(", "));
    }
    if lost(before, &now, args.tolerance) {
        say!("  LOST more than {} %", args.tolerance);
        return Ok(Exit::Slower.into());
    }
    Ok(Exit::Success.into())
}

/// A part of what was, in percent. A `nan` would let everything pass.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or_else(|| "a number from 0 to 100 is needed".to_owned())
}

fn lost(before: &Baseline, now: &Baseline, tolerance: f64) -> bool {
    let changes = before.changes(now);
    changes
        .iter()
        .any(|change| change.ratio() * 100.0 < -tolerance)
}

fn tell(before: &Baseline, now: &Baseline) {
    for change in before.changes(now) {
        say!(
            "  {:8} {:8.1} tokens/s, was {:8.1}: {:+.1} %",
            change.phase,
            change.now,
            change.before,
            change.ratio() * 100.0
        );
    }
}
