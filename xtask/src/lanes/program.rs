//! Builds the program around a reference, and puts it where its clients look.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitnet_crossval::lane::{Home, Lane, Manifest};
use bitnet_crossval::receipt::write_json;

use super::SetupError;
use super::folder::Partial;
use super::process::{Runner, network_or_build};

/// What the program is built around.
#[derive(Debug)]
pub(super) struct Reference {
    /// Holds its headers and libraries.
    pub(super) folder: PathBuf,
    /// Name and version, for people.
    pub(super) words: String,
    /// Digest of everything that the lane depends on.
    pub(super) fingerprint: String,
}

/// The `Cargo.toml` of a C++ lane, below the repository's root.
pub(super) fn manifest_of(root: &Path, lane: Lane) -> PathBuf {
    root.join("crossval/lanes")
        .join(lane.name())
        .join("Cargo.toml")
}

/// The file name of a lane's program.
pub(super) fn name_of(lane: Lane) -> String {
    format!("bitnet-lane-{}{}", lane.name(), env::consts::EXE_SUFFIX)
}

/// The cargo that runs this program, or the one on the `PATH`.
pub(super) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds the program of `lane` and puts it, with its manifest, into `folder`.
pub(super) fn build(
    runner: &mut Runner<'_>,
    root: &Path,
    home: &Home,
    lane: Lane,
    reference: &Reference,
    folder: &Path,
) -> Result<(), SetupError> {
    let name = name_of(lane);
    let target = home.path().join("programs");
    let mut command = cargo();
    command
        .args(["build", "--release", "--locked", "--manifest-path"])
        .arg(manifest_of(root, lane))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("CARGO_BUILD_TARGET")
        .env("BITNET_LANE_REFERENCE_DIR", &reference.folder)
        .env("BITNET_LANE_REFERENCE", &reference.words)
        .env("BITNET_LANE_FINGERPRINT", &reference.fingerprint);
    runner
        .run("build the lane's program", &mut command)
        .map_err(|error| libclang_or(network_or_build(error)))?;

    let partial = Partial::beside(folder)?;
    let built = target.join("release").join(&name);
    let program = partial.path().join(&name);
    fs::copy(&built, &program).map_err(|e| SetupError::io("copy", built, e))?;
    write_manifest(runner, partial.path(), lane, reference, name)?;
    partial.finish()
}

/// Writes the `lane.json` of a lane whose `program` lies in `folder`.
pub(super) fn write_manifest(
    runner: &Runner<'_>,
    folder: &Path,
    lane: Lane,
    reference: &Reference,
    program: String,
) -> Result<(), SetupError> {
    let manifest = Manifest {
        lane: lane.name().to_owned(),
        fingerprint: reference.fingerprint.clone(),
        reference: reference.words.clone(),
        program: program.into(),
        seconds: runner.seconds(),
    };
    let path = folder.join("lane.json");
    write_json(&path, &manifest).map_err(|e| SetupError::io("write", path, e))
}

/// bindgen's way of saying that libclang is missing, in our words.
fn libclang_or(error: SetupError) -> SetupError {
    match &error {
        SetupError::Build { what, tail, .. } if tail.contains("find libclang") => {
            SetupError::MissingTool {
                what: what.clone(),
                tool: "libclang",
                install: "apt-get install libclang-dev (or the like of your system; LIBCLANG_PATH names its folder)"
                    .to_owned(),
            }
        }
        _ => error,
    }
}
