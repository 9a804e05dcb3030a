//! `xtask gen-baselines`: writes down how fast the CPU kernels are here, as receipts say it or as
//! it is measured now.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bitnet_crossval::receipt::{Baseline, Baselines, BenchReceipt};
use bitnet_process::say;

use super::BaselineArgs;
use crate::Exit;

/// Flags of `xtask gen-baselines`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Measure on a machine that does nothing else. The baseline is put into the file of today, beside those of other CPUs, devices, \
models and workloads, and replaces the one that has all of these in common with it. Where --receipts has receipts of \
`cargo xtask bench`, they are taken instead of measuring: of several with all of these in common, the median.")]
pub struct Args {
    #[command(flatten)]
    baseline: BaselineArgs,

    /// Folder in which receipts (bench_*.json) are looked for
    #[arg(long, value_name = "FOLDER", default_value = "ci")]
    receipts: PathBuf,

    /// Measure, whatever receipts there are
    #[arg(long)]
    measure: bool,
}

/// Read or measure, and write.
///
/// # Errors
/// A receipt is none, the model does not run, or the file cannot be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // First, so that a file that cannot be added to is told before the measuring.
    let path = args.baseline.today();
    let mut file = if path.exists() {
        Baselines::read(&path)?
    } else {
        Baselines::new()
    };
    let receipts = match args.measure {
        true => Vec::new(),
        false => BenchReceipt::read_all(&args.receipts)?,
    };
    let new = match receipts.is_empty() {
        true => vec![args.baseline.workload.subject()?.measure()?],
        false => {
            let folder = args.receipts.display();
            let count = receipts.len();
            say!("{count} receipts in {folder} (--measure measures anew)");
            of_receipts(receipts)
        }
    };
    for new in new {
        say!("{}", new.words());
        file.put(new);
    }
    file.write(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    say!("written to {}", path.display());
    Ok(Exit::Success.into())
}

/// The median of the receipts with one key, for each key.
fn of_receipts(receipts: Vec<BenchReceipt>) -> Vec<Baseline> {
    let mut groups: Vec<Vec<Baseline>> = Vec::new();
    for measured in receipts.into_iter().map(BenchReceipt::measured) {
        let group = groups.iter_mut().find(|group| group[0].key == measured.key);
        match group {
            Some(group) => group.push(measured),
            None => groups.push(vec![measured]),
        }
    }
    groups.into_iter().filter_map(Baseline::median).collect()
}
