//! The real program, run as its users run it.

mod accounting;
mod bad_input;
mod bits;
mod chat;
mod damage;
mod endings;
mod receipts;
mod run;
mod serve;
mod template;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

fn golden(name: &str) -> PathBuf {
    root().join("fixtures/golden").join(name)
}

/// The program on the CPU's default kernels, in an empty folder, without the caches of whoever runs
/// the test.
fn bitnet(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitnet"));
    command
        .current_dir(folder)
        .env_remove("BITNET_ISA")
        .env_remove("BITNET_GGUF")
        .env("BITNET_MODEL_CACHE_DIR", folder.join("cache"))
        .env("XDG_CACHE_HOME", folder.join("user-cache"));
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("standard output is UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("standard error is UTF-8")
}
