//! Workflows of this repository as one program: provisioning, preflight, parity, fixtures, and the
//! checks that keep generated files in step with their sources. Each is idempotent and runs the
//! same way on a desk and in CI.
//!
//! This crate drives the others. It holds no numerics, no kernels and no model code.

pub mod commands;
mod describe;
mod environment;
mod exit;
mod isa;
pub mod lanes;
pub mod load;
mod output;
pub mod tokenizer_check;
pub mod workspace;

pub use commands::Cli;
pub use describe::describe;
pub use exit::{Exit, UsageError};
