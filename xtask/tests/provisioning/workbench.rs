//! A folder to work in, and the program to run there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::server::{Remote, Server};

/// A fresh folder; `HOME` and the current folder of every run.
pub(crate) struct Workbench {
    root: tempfile::TempDir,
}

/// The file every test downloads, and where it ends up.
pub(crate) const FILE: &str = "m.gguf";
pub(crate) const FOLDER: &str = "models/org-repo";

/// What a run said.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

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
        assert!(
            self.out.contains(text) || self.err.contains(text),
            "{text:?} is not in {self:#?}"
        );
        self
    }
}

impl Workbench {
    pub(crate) fn new() -> Self {
        Self {
            root: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("created");
        fs::write(&path, bytes).expect("written");
        path
    }

    /// The program with these arguments, in this folder, with nothing of this machine's set-up.
    pub(crate) fn command<S: AsRef<std::ffi::OsStr>>(
        &self,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(args)
            .current_dir(self.root.path())
            .env("HOME", self.root.path())
            .stdin(Stdio::null());
        for name in [
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HF_HOME",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN",
            "HUGGING_FACE_HUB_TOKEN",
            "XDG_CACHE_HOME",
            "HF_ENDPOINT",
            "BITNET_MODEL_CACHE_DIR",
            "BITNET_MODEL_TIER",
        ] {
            command.env_remove(name);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        command
    }

    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        Run::from(self.command(args).output().expect("the program runs"))
    }

    pub(crate) fn finish(&self, mut command: Command) -> Run {
        Run::from(command.output().expect("the program runs"))
    }

    /// `download-model` of the test's file with patience suited to tests, and more arguments.
    pub(crate) fn download_command(&self, server: &Server, more: &[&str]) -> Command {
        let url = server.url();
        let mut args = vec![
            "download-model",
            "--id",
            "org/repo",
            "--file",
            FILE,
            "--base-url",
            &url,
            "--backoff",
            "0.01",
        ];
        if !more.contains(&"--stall-timeout") {
            args.extend(["--stall-timeout", "60"]);
        }
        args.extend(more);
        self.command(args)
    }

    /// The same, started and left to itself; what it says is of no interest.
    pub(crate) fn start_download(&self, server: &Server, more: &[&str]) -> Child {
        let mut command = self.download_command(server, more);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts")
    }

    pub(crate) fn download(&self, server: &Server, more: &[&str]) -> Run {
        self.finish(self.download_command(server, more))
    }

    /// The final file.
    pub(crate) fn model(&self) -> PathBuf {
        self.path(FOLDER).join(FILE)
    }

    /// The names in the model's folder.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        names_in(&self.path(FOLDER))
    }

    /// The model is `remote`, and its folder holds what a finished download leaves.
    #[track_caller]
    pub(crate) fn holds(&self, remote: &Remote) {
        assert!(
            fs::read(self.model()).expect("the final file") == *remote.bytes,
            "the final file is wrong"
        );
        let allowed = [FILE, "m.gguf.etag", "m.gguf.lastmod"]
            .map(str::to_owned)
            .into();
        assert!(
            self.names().is_subset(&allowed),
            "left behind: {:?}",
            self.names()
        );
    }

    /// There is no final file, and the folder holds exactly these names.
    #[track_caller]
    pub(crate) fn lacks_model_but_holds(&self, names: &[&str]) {
        assert_eq!(
            self.names(),
            names.iter().map(|name| (*name).to_owned()).collect()
        );
        assert!(!self.model().exists());
    }

    /// Leave the first `len` bytes of `remote` as an interrupted download would have.
    pub(crate) fn put_part(&self, remote: &Remote, len: usize) {
        self.put(&format!("{FOLDER}/{FILE}.part"), &remote.bytes[..len]);
        self.put(
            &format!("{FOLDER}/{FILE}.etag"),
            format!("{}\n", remote.etag).as_bytes(),
        );
    }
}

pub(crate) fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// SHA256 of some bytes, in hex, by the program's own hasher.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    bitnet_files::Sha256Hex::of(bytes).to_string()
}
