//! The `bitnet` command.
//!
//! Arguments are read here and in `commands`, one file per subcommand; what they mean is the
//! engine's business. Results go to standard output, everything else to standard error.

mod accounting;
mod advice;
mod commands;
mod environment;
mod exit;
mod generation;
mod interrupt;
mod sampling;
mod source;
mod warnings;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Ternary (1.58-bit) language models on any CPU, right to the bit.
#[derive(Parser)]
#[command(name = "bitnet", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generate text from a prompt
    Run(commands::run::Args),
    /// Hold a conversation, a line at a time
    Chat(commands::chat::Args),
    /// Show what a GGUF file holds
    Inspect(commands::inspect::Args),
    /// Say what would stop a GGUF file from running
    CompatCheck(commands::compat_check::Args),
    /// Write the logits for given tokens to a file
    Logits(commands::logits::Args),
    /// Measure speed and memory
    Bench(commands::bench::Args),
    /// Hold every operation on a device against the CPU, and name the first that differs
    Compare(commands::compare::Args),
    /// Show what would be sent to a model for a conversation
    Template(commands::template::Args),
    /// Count the tokens of texts
    Tokens(commands::tokens::Args),
    /// Say what tokens cost
    Price(commands::price::Args),
    /// Count the tokens of lines of JSON as they pass through
    Pipe(commands::pipe::Args),
    /// List the models whose tokens can be counted by name
    Models(commands::models::Args),
    /// List the devices that models can run on
    Devices(commands::devices::Args),
}

fn main() -> ExitCode {
    interrupt::install();
    // Nothing unless asked for: `RUST_LOG=debug` tells where models and tokenizers were looked for.
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Off)
        .parse_default_env()
        .init();
    let result = match Cli::parse().command {
        Command::Run(args) => commands::run::run(args),
        Command::Chat(args) => commands::chat::run(&args),
        Command::Inspect(args) => commands::inspect::run(&args),
        Command::CompatCheck(args) => commands::compat_check::run(&args),
        Command::Logits(args) => commands::logits::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Template(args) => commands::template::run(&args),
        Command::Tokens(args) => commands::tokens::run(&args),
        Command::Price(args) => commands::price::run(&args),
        Command::Pipe(args) => commands::pipe::run(&args),
        Command::Models(args) => commands::models::run(&args),
        Command::Devices(args) => commands::devices::run(&args),
    };
    exit::code(result)
}
