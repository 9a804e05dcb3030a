//! The `bitnet` command: its command line, what its variables and exit codes mean, and [`run`].
//!
//! Arguments are read in `commands`, one file per subcommand; what they mean is the engine's
//! business. Results go to standard output, everything else to standard error.

mod accounting;
mod advice;
mod commands;
mod constraint;
mod environment;
mod exit;
mod generation;
mod messages;
mod output;
mod sampling;
mod source;
mod warnings;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

pub use environment::VARIABLES;
pub use exit::EXIT_CODES;
pub use warnings::warn;

/// Ternary (1.58-bit) language models on any CPU, right to the bit.
#[derive(Parser)]
#[command(name = "bitnet", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

/// The command line, for whoever describes it.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommands(|command| {
        // So that an error names the flag that a negative number was given to.
        command.mut_args(
            |arg| match arg.get_action().takes_values() && !arg.is_positional() {
                true => arg.allow_negative_numbers(true),
                false => arg,
            },
        )
    })
}

/// The program: reads the arguments, does what they ask for, and tells with what code to exit.
pub fn run() -> ExitCode {
    bitnet_process::take_over();
    // Nothing unless asked for: `RUST_LOG=debug` tells where models and tokenizers were looked for.
    env_logger::Builder::new()
        .filter_level(log::LevelFilter::Off)
        .parse_default_env()
        .init();
    let matches = command().get_matches();
    let command = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.command,
        Err(error) => error.exit(),
    };
    // What cannot be meant is said even where nothing is doubtful.
    exit::code(environment::strict().and_then(|_| command.run()))
}
