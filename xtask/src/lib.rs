//! Workflows of this repository as one program: provisioning, preflight, parity, fixtures, and the
//! checks that keep generated files in step with their sources. Each is idempotent and runs the
//! same way on a desk and in CI.
//!
//! This crate drives the others. It holds no numerics, no kernels and no model code.

pub mod commands;
mod environment;
mod exit;
mod isa;
pub mod lanes;
mod output;
pub mod tokenizer_check;
pub mod workspace;

use bitnet_provisioning::download::DownloadError;

pub use exit::Exit;

/// The command line of `xtask`.
#[derive(Debug, clap::Parser)]
#[command(
    name = "xtask",
    bin_name = "cargo xtask",
    about = "Provisioning, preflight, parity and fixtures",
    max_term_width = 100
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: commands::Command,
}

/// The command line was understood, but names something that cannot be worked with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// An error as a person reads it: what went wrong, its causes, and what to do. A message of several
/// lines is kept whole, with its cause after it; one-line messages are joined.
pub fn describe(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for said in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = said;
        } else if text.contains(&said) {
            // The message above already quotes this one.
        } else if text.contains('\n') {
            text = format!("{text}\n\nCause: {said}");
        } else {
            text = format!("{text}: {said}");
        }
    }
    let advice = error
        .chain()
        .find_map(|cause| cause.downcast_ref::<DownloadError>()?.advice());
    match advice {
        Some(advice) if !text.contains('\n') => format!("{text}\n\n{advice}"),
        _ => text,
    }
}
