//! `xtask verify-receipt`: is this file a proof of parity?

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bitnet_crossval::digest;
use bitnet_crossval::receipt::Receipt;
use bitnet_process::say;

use crate::{Exit, UsageError};

/// Flags of `xtask verify-receipt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exits with 0 when every receipt holds and is a pass, with 1 when one does not hold or is none, and with 2 when a file is no \
receipt. Receipts of parity-both are read in the schemas v1 and v2, those of crossval in schema 1.x.")]
pub struct Args {
    /// Receipts of `parity-both` or `crossval`
    #[arg(value_name = "FILE", default_value = "ci/parity.json")]
    pub receipts: Vec<PathBuf>,

    /// A model that the receipts must be about, by its SHA256
    #[arg(long, value_name = "FILE")]
    pub model: Option<PathBuf>,
}

/// Read, check, tell.
///
/// # Errors
/// A file that is no receipt, or a model that cannot be read.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let model = match &args.model {
        Some(path) => {
            Some(digest::of_file(path).with_context(|| format!("cannot read {}", path.display()))?)
        }
        None => None,
    };
    let mut all_hold = true;
    for path in &args.receipts {
        let receipt = Receipt::read(path)
            .map_err(|error| UsageError(format!("{}: {error}", path.display())))?;
        let mut problems = receipt.problems();
        if let Some(wanted) = &model
            && !receipt.models().values().any(|found| found == wanted)
        {
            problems.push(format!("it is not about a model with the SHA256 {wanted}"));
        }
        say!("{}: {}", path.display(), receipt.words());
        for problem in &problems {
            say!("  {problem}");
        }
        say!(
            "  {}",
            if problems.is_empty() {
                "holds"
            } else {
                "DOES NOT HOLD"
            }
        );
        all_hold &= problems.is_empty();
    }
    Ok(if all_hold {
        Exit::Success
    } else {
        Exit::Failure
    }
    .into())
}
