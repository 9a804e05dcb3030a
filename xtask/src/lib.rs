//! Workflows of this repository as one program: provisioning, preflight, parity, fixtures, and the checks that keep
//! generated files in step with their sources. Each is idempotent and runs the same way on a desk and in CI.
//!
//! This crate drives the others. It holds no numerics, no kernels and no model code.

pub mod commands;
pub mod download;
mod exit;

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
