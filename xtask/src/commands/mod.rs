//! One file per subcommand. Each has an `Args` (its flags, documented for `--help`) and a `run`
//! that does the work by calling the library; `Ok(code)` is the exit code, an `Err` is printed and
//! mapped by [`Exit::of`](crate::Exit::of).

mod baseline_args;
pub mod bench;
pub mod bench_serve;
pub mod clean_cache;
pub mod compare_benches;
pub mod crossval;
pub mod docs;
pub mod download_model;
pub mod fetch_cpp;
pub mod fetch_models;
pub mod gen_baselines;
pub mod gen_fixtures;
mod lane_args;
mod parity_args;
pub mod parity_both;
pub mod preflight;
pub mod setup_cpp_auto;
pub mod shaders;
pub mod tokenizer;
pub mod tokenizer_error;
mod transfer_args;
pub mod verify_baselines;
pub mod verify_receipt;

use std::process::ExitCode;

use clap::CommandFactory as _;

pub use baseline_args::{BaselineArgs, WorkloadArgs};
pub use lane_args::{LaneArgs, RepairArgs};
pub use parity_args::ParityArgs;
pub use transfer_args::TransferArgs;

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
    pub command: Command,
}

/// Every subcommand, in the order of `--help`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Download a GGUF model from the Hugging Face hub, a mirror or a folder
    DownloadModel(download_model::Args),
    /// Download the LLaMA-3 tokenizer.json
    Tokenizer(tokenizer::Args),
    /// Bring the models of the lockfile into the cache, verified by hash
    FetchModels(fetch_models::Args),
    /// Build the reference lanes (bitnet.cpp and llama.cpp) into the cache
    SetupCppAuto(setup_cpp_auto::Args),
    /// Check the reference lanes, and build what is missing where that is allowed
    Preflight(preflight::Args),
    /// Clone and build a named version of a C++ reference with its own CMake
    FetchCpp(fetch_cpp::Args),
    /// Compare one model and one prompt with both references: two receipts and a summary
    ParityBoth(parity_both::Args),
    /// Run the parity suite over the models given, or the one found in models/ or the cache
    Crossval(crossval::Args),
    /// Bring what is missing of models and lanes, then run the parity suite over every model at
    /// hand
    FullCrossval(crossval::FullArgs),
    /// Check that parity receipts hold: their verdicts follow from their numbers, and are passes
    VerifyReceipt(verify_receipt::Args),
    /// Write a synthetic model with random ternary weights
    GenFixtures(gen_fixtures::Args),
    /// Measure how fast the CPU kernels are here, into a receipt
    Bench(bench::Args),
    /// Measure how fast servers of OpenAI's API are under load, in turn
    BenchServe(bench_serve::Args),
    /// Write down how fast the CPU kernels are here, from receipts or measured now
    GenBaselines(gen_baselines::Args),
    /// Check that the CPU kernels are as fast here as they were
    VerifyBaselines(verify_baselines::Args),
    /// Time the kernels of this commit and of another in turn, and fail where one is slower
    CompareBenches(compare_benches::Args),
    /// Write the generated GPU kernels, or check that the committed ones are in step with their
    /// sources
    Shaders(shaders::Args),
    /// Remove build output, caches and models, after asking
    CleanCache(clean_cache::Args),
    /// Write the reference pages of the programs from their command lines, or check that they are
    /// in step
    Docs(docs::Args),
}

impl Command {
    /// Run it to the end.
    ///
    /// # Errors
    /// Whatever stopped the command; [`Exit::of`](crate::Exit::of) gives its exit code.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::DownloadModel(args) => download_model::run(&args),
            Self::Tokenizer(args) => tokenizer::run(&args),
            Self::FetchModels(args) => fetch_models::run(&args),
            Self::SetupCppAuto(args) => setup_cpp_auto::run(&args),
            Self::Preflight(args) => preflight::run(&args),
            Self::FetchCpp(args) => fetch_cpp::run(&args),
            Self::ParityBoth(args) => parity_both::run(&args),
            Self::Crossval(args) => crossval::run(&args),
            Self::FullCrossval(args) => crossval::run_full(&args),
            Self::VerifyReceipt(args) => verify_receipt::run(&args),
            Self::GenFixtures(args) => gen_fixtures::run(&args),
            Self::Bench(args) => bench::run(&args),
            Self::BenchServe(args) => bench_serve::run(&args),
            Self::GenBaselines(args) => gen_baselines::run(&args),
            Self::VerifyBaselines(args) => verify_baselines::run(&args),
            Self::CompareBenches(args) => compare_benches::run(&args),
            Self::Shaders(args) => shaders::run(&args),
            Self::CleanCache(args) => clean_cache::run(&args),
            Self::Docs(args) => docs::run(&args, Cli::command()),
        }
    }
}
