//! A cache of the test's own, and the program to run on it, in this repository.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The root of this repository, where every run starts.
pub(crate) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What must not leak from the machine into a run.
const FOREIGN: [&str; 6] = [
    "BITNET_CPP_CACHE",
    "BITNET_CPP_DIR",
    "LLAMA_CPP_DIR",
    "BITNET_REPAIR_IN_PROGRESS",
    "CI",
    "CC",
];

/// What a run said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.out,
            self.err
        );
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let said = self.out.contains(text) || self.err.contains(text);
        assert!(
            said,
            "{text:?} is not in\nstdout:\n{}\nstderr:\n{}",
            self.out, self.err
        );
        self
    }
}

/// A fresh cache.
pub(crate) struct Workbench {
    folder: tempfile::TempDir,
}

impl Workbench {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// A path in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    /// Writes a program for a `PATH`.
    #[cfg(unix)]
    pub(crate) fn put_program(&self, name: &str, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        path
    }

    /// The program on this cache.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_on(&self.cache(), arguments)
    }

    /// The program on another cache.
    pub(crate) fn command_on(&self, cache: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
            .args(arguments)
            .current_dir(ROOT)
            .env("BITNET_CPP_CACHE", cache)
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        finish(self.command(arguments))
    }

    /// What the cache holds, logs aside.
    pub(crate) fn built(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.cache())
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| {
                entry
                    .path()
                    .read_dir()
                    .is_ok_and(|mut inside| inside.next().is_some())
            })
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name != "logs")
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn finish(mut command: Command) -> Run {
    command.output().expect("the program runs").into()
}

/// The `PATH` of this process with a folder before it.
#[cfg(unix)]
pub(crate) fn path_with(first: &Path) -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(first.to_owned()).chain(std::env::split_paths(&rest));
    std::env::join_paths(folders).expect("a PATH")
}

/// The address of a port on which nobody listens any more.
#[cfg(unix)]
pub(crate) fn closed_port() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    format!("http://{}", socket.local_addr().expect("an address"))
}
