//! One file per subcommand. Each has an `Args` (its flags, documented for `--help`) and a `run` that does the work by
//! calling the library; `Ok(code)` is the exit code, an `Err` is printed and mapped by [`Exit::of`](crate::Exit::of).

pub mod docs;

use std::process::ExitCode;

/// Every subcommand, in the order of `--help`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Write the reference page of this program from its command line, or check that it is in step
    Docs(docs::Args),
}

impl Command {
    /// Run it to the end.
    ///
    /// # Errors
    /// Whatever stopped the command; [`Exit::of`](crate::Exit::of) gives its exit code.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Docs(args) => docs::run(&args),
        }
    }
}
