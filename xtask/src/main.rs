//! The `xtask` program: parse, dispatch, turn the outcome into an exit code. Everything else lives
//! in the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match xtask::Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {}", xtask::describe(&error));
            xtask::Exit::of(&error).into()
        }
    }
}
