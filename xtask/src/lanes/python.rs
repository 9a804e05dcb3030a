//! The lane of Hugging Face transformers: a Python environment of pinned packages, and the program
//! in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitnet_crossval::digest;
use bitnet_crossval::lane::{Home, Lane};

use super::SetupError;
use super::folder::Partial;
use super::process::{Runner, network_or_build};
use super::program::{Reference, name_of, write_manifest};
use super::reference::remove_others;
use super::tools;

const LANE: Lane = Lane::Transformers;

/// The program, among the lane's sources.
const MAIN: &str = "lane.py";

/// The oldest Python that the packages run on.
const OLDEST: (u32, u32) = (3, 11);

/// The packages as `requirements.txt` pins them, by version and hash.
#[derive(Debug)]
pub(super) struct Environment {
    requirements: PathBuf,
    version: String,
    /// Digest of the requirements.
    pub(super) identity: String,
}

/// The lane's folder below the repository's root.
fn folder_of(root: &Path) -> PathBuf {
    root.join("crossval/lanes").join(LANE.name())
}

/// What the lane's program is made of.
pub(super) fn sources(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder_of(root))
        .into_iter()
        .flatten()
        .flatten();
    let mut sources: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "py"))
        .collect();
    sources.sort();
    sources
}

impl Environment {
    /// Reads the pins below the repository's root.
    pub(super) fn pinned(root: &Path) -> Result<Self, SetupError> {
        let requirements = folder_of(root).join("requirements.txt");
        let text = bitnet_files::read_to_string(&requirements)
            .map_err(|e| SetupError::io("read", requirements.clone(), e))?;
        let version = version_in(&text).ok_or_else(|| SetupError::Source {
            package: LANE.name().to_owned(),
            problem: format!("{} does not pin it", requirements.display()),
            path: requirements.clone(),
        })?;
        Ok(Self {
            version: version.to_owned(),
            identity: digest::of_bytes(text.as_bytes()),
            requirements,
        })
    }

    /// `transformers 1.2.3`.
    pub(super) fn words(&self) -> String {
        format!("{} {}", LANE.reference(), self.version)
    }

    /// Where the environment is, or will be.
    pub(super) fn folder(&self, home: &Home) -> PathBuf {
        let key = &self.identity[..8];
        home.references()
            .join(format!("{}-{}-{key}", LANE.name(), self.version))
    }

    /// Makes the environment anew, and removes those that it replaces.
    pub(super) fn build(&self, runner: &mut Runner<'_>, home: &Home) -> Result<(), SetupError> {
        let python = tools::require("python3", LANE.reference())?;
        let (major, minor) = OLDEST;
        let check = format!("import sys; sys.exit(sys.version_info < ({major}, {minor}))");
        let mut command = Command::new(&python);
        command.args(["-c", &check]);
        runner
            .run("look for Python", &mut command)
            .map_err(|_| SetupError::MissingTool {
                what: LANE.reference().to_owned(),
                tool: "python3",
                install: format!(
                    "put Python {major}.{minor} or newer first on the PATH; {} is older",
                    python.display()
                ),
            })?;
        let target = self.folder(home);
        let partial = Partial::beside(&target)?;
        let mut command = Command::new(python);
        command.args(["-m", "venv"]).arg(partial.path());
        let made = runner.run("make a Python environment", &mut command);
        made.map_err(ensurepip_or)?;
        let mut command = Command::new(python_in(partial.path()));
        command
            .args([
                "-m",
                "pip",
                "install",
                "--no-input",
                "--disable-pip-version-check",
            ])
            // All that is needed is pinned, and nothing is compiled here.
            .args(["--no-deps", "--require-hashes", "--only-binary", ":all:"])
            .args(["--no-compile", "--progress-bar", "off", "--requirement"])
            .arg(&self.requirements)
            .env_remove("PYTHONPATH");
        let what = format!("fetch {} and what it needs", self.words());
        runner.run(&what, &mut command).map_err(network_or_build)?;
        partial.finish()?;
        remove_others(home, LANE, &target)
    }
}

/// The version of transformers among pins of the form `name==version`.
fn version_in(requirements: &str) -> Option<&str> {
    let pin = requirements
        .lines()
        .find_map(|line| line.strip_prefix("transformers=="))?;
    pin.split_whitespace().next()
}

/// Debian's way of saying that it keeps a part of Python in another package, in our words.
fn ensurepip_or(error: SetupError) -> SetupError {
    match error {
        SetupError::Build { what, tail, .. } if tail.contains("ensurepip") => {
            SetupError::MissingTool {
                what,
                tool: "ensurepip",
                install: "apt-get install python3-venv (or the like of your system)".to_owned(),
            }
        }
        other => other,
    }
}

/// The interpreter of an environment.
fn python_in(environment: &Path) -> PathBuf {
    if cfg!(windows) {
        environment.join("Scripts").join("python.exe")
    } else {
        environment.join("bin").join("python")
    }
}

/// Puts the lane's program, with its manifest, into `folder`: its sources, and a script that runs
/// them in the environment.
pub(super) fn program(
    runner: &mut Runner<'_>,
    root: &Path,
    reference: &Reference,
    folder: &Path,
) -> Result<(), SetupError> {
    runner.note("write the lane's program");
    let partial = Partial::beside(folder)?;
    for source in sources(root) {
        let target = partial.path().join(source.file_name().unwrap_or_default());
        fs::copy(&source, target).map_err(|e| SetupError::io("copy", source, e))?;
    }
    let name = name_of(LANE);
    let path = partial.path().join(&name);
    let script = script(reference);
    write_program(&path, &script).map_err(|e| SetupError::io("write", path, e))?;
    write_manifest(runner, partial.path(), LANE, reference, name)?;
    partial.finish()
}

/// A shell script that runs the program beside it, free of the user's Python variables and
/// packages.
fn script(reference: &Reference) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    format!(
        "#!/bin/sh\nexec {} -E -s \"$(dirname \"$0\")/{MAIN}\" --reference {} --fingerprint {}\n",
        quoted(&python_in(&reference.folder).display().to_string()),
        quoted(&reference.words),
        quoted(&reference.fingerprint),
    )
}

/// A file that can be run.
fn write_program(path: &Path, text: &str) -> std::io::Result<()> {
    fs::write(path, text)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    #[test]
    fn the_packages_are_pinned_by_version_and_every_one_of_them_by_hash() {
        let environment = Environment::pinned(Path::new(ROOT)).expect("pins");
        assert!(environment.version.starts_with("5."), "{environment:?}");
        let text = fs::read_to_string(&environment.requirements).expect("readable");
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let pins = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains("=="));
        for (at, pin) in pins {
            assert!(pin.ends_with('\\'), "{pin}");
            assert!(lines[at + 1].contains("--hash=sha256:"), "{pin}");
        }
    }

    #[test]
    fn the_program_is_made_of_its_sources_and_knows_what_it_is() {
        let sources = sources(Path::new(ROOT));
        assert!(
            sources.iter().any(|path| path.ends_with(MAIN)),
            "{sources:?}"
        );
        let reference = Reference {
            folder: "/cache/it's".into(),
            words: "transformers 5.0.0".into(),
            fingerprint: "ff".into(),
        };
        let script = script(&reference);
        assert!(
            script.contains(r"'/cache/it'\''s/bin/python' -E -s"),
            "{script}"
        );
        assert!(script.contains("--reference 'transformers 5.0.0' --fingerprint 'ff'"));
    }
}
