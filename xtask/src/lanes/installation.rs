//! A built llama.cpp or bitnet.cpp that the user names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use bitnet_crossval::digest;
use bitnet_crossval::lane::Lane;

use super::SetupError;

/// How deep below the folder headers and libraries are looked for, as the lane's own build script
/// does.
const DEPTH: usize = 8;

/// Extensions of what a lane is linked with.
const LIBRARIES: [&str; 4] = ["a", "so", "dylib", "lib"];

/// What was found of an installation.
#[derive(Debug)]
pub(super) struct Installation {
    /// Its folder.
    pub(super) path: PathBuf,
    /// Digest of the headers' and libraries' names, sizes and times: changes when it is built
    /// again.
    pub(super) identity: String,
}

impl Installation {
    /// Looks at the installation that the variable of `lane` names.
    pub(super) fn read(lane: Lane, path: &Path) -> Result<Self, SetupError> {
        let variable = lane.directory_variable().unwrap_or_default();
        let refuse = |problem: &str| SetupError::Installation {
            variable,
            path: path.to_owned(),
            problem: format!(
                "{problem}\n\nSolution: name the folder of a built {}, or unset {variable} to use the pinned source",
                lane.reference(),
            ),
        };
        let path = path
            .canonicalize()
            .map_err(|error| refuse(&format!("cannot be read: {error}")))?;
        let parts = parts_below(&path);
        let has = |test: &dyn Fn(&str) -> bool| parts.iter().any(|part| test(&part.name));
        if !has(&|name| name == "llama.h") {
            return Err(refuse("there is no llama.h below it"));
        }
        if !has(&|name| name.starts_with("libllama.") || name == "llama.lib") {
            return Err(refuse(
                "there is no libllama below it: build its `llama` target first",
            ));
        }
        let identity: String = parts.iter().map(|part| part.line.as_str()).collect();
        Ok(Self {
            path,
            identity: digest::of_bytes(identity.as_bytes()),
        })
    }

    /// The reference and its version, for people.
    pub(super) fn words(&self, lane: Lane) -> String {
        // fetch-cpp puts the clone into a folder of its own.
        let version = [self.path.clone(), self.path.join("source")]
            .iter()
            .find_map(|folder| described(folder))
            .map(|version| format!(" {version}"))
            .unwrap_or_default();
        format!("{}{version} at {}", lane.reference(), self.path.display())
    }
}

/// The version of a repository, if `folder` is the root of one.
fn described(folder: &Path) -> Option<String> {
    let described = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["describe", "--always", "--tags"])
        // A repository above it says nothing about it.
        .env("GIT_CEILING_DIRECTORIES", folder.parent()?)
        .env_remove("GIT_DIR")
        .output()
        .ok()?;
    let version = String::from_utf8(described.stdout).ok()?;
    described
        .status
        .success()
        .then(|| version.trim().to_owned())
}

struct Part {
    name: String,
    line: String,
}

/// Headers and libraries, in an order that does not depend on the file system.
fn parts_below(root: &Path) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut level = vec![root.to_owned()];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for entry in level
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                next.push(path);
            } else if is_part(&path) {
                parts.extend(part(root, &path));
            }
        }
        level = next;
    }
    parts.sort_by(|a, b| a.line.cmp(&b.line));
    parts
}

fn is_part(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    LIBRARIES.contains(&extension.as_ref())
        || (extension == "h" && (name == "llama.h" || name.starts_with("ggml")))
}

fn part(root: &Path, path: &Path) -> Option<Part> {
    let about = path.metadata().ok()?;
    let written = about.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    let shown = path.strip_prefix(root).unwrap_or(path).display();
    Some(Part {
        name: path.file_name()?.to_string_lossy().into_owned(),
        line: format!("{shown} {} {}\n", about.len(), written.as_nanos()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_installation_is_refused_by_the_name_of_its_variable() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = || Installation::read(Lane::LlamaCpp, folder.path());
        let refusal = read().expect_err("empty").to_string();
        assert!(
            refusal.contains("LLAMA_CPP_DIR=") && refusal.contains("no llama.h"),
            "{refusal}"
        );
        fs::create_dir(folder.path().join("include")).expect("created");
        fs::write(folder.path().join("include/llama.h"), "").expect("written");
        let refusal = read().expect_err("not built").to_string();
        assert!(refusal.contains("`llama` target"), "{refusal}");
        fs::write(folder.path().join("libllama.a"), "").expect("written");
        let before = read().expect("an installation").identity;
        fs::write(folder.path().join("libggml.a"), "x").expect("written");
        assert_ne!(read().expect("an installation").identity, before);
        let gone = Installation::read(Lane::LlamaCpp, &folder.path().join("gone"));
        assert!(
            gone.expect_err("gone")
                .to_string()
                .contains("cannot be read")
        );
    }
}
