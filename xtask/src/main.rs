//! The `xtask` program: parse, dispatch, turn the outcome into an exit code. Everything else lives
//! in the library.

use std::process::ExitCode;

use bitnet_process::note;
use clap::Parser;

fn main() -> ExitCode {
    bitnet_process::take_over();
    let code = match xtask::Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            note!("Error: {}", xtask::describe(&error));
            xtask::Exit::of(&error).into()
        }
    };
    if bitnet_process::said_all() {
        return code;
    }
    note!("Error: standard output cannot be written to");
    xtask::Exit::Failure.into()
}
