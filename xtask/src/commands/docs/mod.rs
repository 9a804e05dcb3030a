//! `xtask docs`: the reference pages of the programs, from their tables and from clap, so that no
//! page can drift from its program.

mod api;
mod page;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};

use self::page::{Page, Table};
use crate::Exit;

/// Flags of `xtask docs`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Do not write; fail if a page differs from what would be written
    #[arg(long)]
    pub check: bool,

    /// The folder of the pages
    #[arg(long, value_name = "DIR", default_value = "docs/reference")]
    pub folder: PathBuf,
}

/// Write or check the pages. `xtask` is the command line of this program.
///
/// # Errors
/// A page cannot be read or written, or with `--check`, differs.
pub fn run(args: &Args, xtask: clap::Command) -> anyhow::Result<ExitCode> {
    for (file, wanted) in [
        ("cli.md", bitnet().markdown()),
        ("xtask.md", page_of(xtask).markdown()),
        ("api.md", api::markdown(bitnet_server::APIS)),
    ] {
        let path = args.folder.join(file);
        if args.check {
            let found = bitnet_files::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            ensure!(
                found == wanted,
                "{} is out of step with the program. Run: cargo xtask docs",
                path.display()
            );
        } else {
            bitnet_files::replace(&path, wanted.as_bytes())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(Exit::Success.into())
}

/// The page of the program that users run.
fn bitnet() -> Page {
    let exits = bitnet_cli::EXIT_CODES
        .iter()
        .map(|(code, meaning)| vec![code.to_string(), (*meaning).to_owned()]);
    let variables = bitnet_cli::VARIABLES
        .iter()
        .map(|(name, effect)| vec![format!("`{name}`"), (*effect).to_owned()]);
    Page {
        title: "The `bitnet` command",
        source: "cli/src",
        introduction: "Results go to standard output, everything else to standard error.",
        exits: Table::new(&["Code", "Meaning"], exits),
        variables: Table::new(&["Variable", "Effect"], variables),
        command: bitnet_cli::command(),
    }
}

/// The page of this program.
fn page_of(command: clap::Command) -> Page {
    let exits = Exit::TABLE.iter().map(|(exit, meaning, causes)| {
        let code = (*exit as u8).to_string();
        vec![code, (*meaning).to_owned(), (*causes).to_owned()]
    });
    Page {
        title: "xtask reference",
        source: "xtask/src",
        introduction: "Run as `cargo xtask <command>` from the root of the repository.",
        exits: Table::new(&["Code", "Meaning", "Common causes"], exits),
        variables: Table::new(&["Variable", "Effect"], []),
        command,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::{Args, run};

    #[test]
    fn the_reference_pages_are_in_step_with_the_programs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let args = Args {
            check: true,
            folder: root.join("docs/reference"),
        };
        run(&args, crate::Cli::command()).expect("cargo xtask docs was run");
    }
}
