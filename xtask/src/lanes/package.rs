//! The pinned source of a reference: a package of cargo's registry, by version and checksum.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitnet_crossval::digest;
use bitnet_crossval::lane::Lane;

use super::SetupError;
use super::process::{Runner, network_or_build};
use super::program::{cargo, manifest_of};
use super::recipe::Recipe;

/// A package as the lane's `Cargo.lock` pins it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) checksum: String,
}

impl Package {
    /// Reads the pin from the lane's `Cargo.lock` below the repository's root.
    pub(super) fn pinned(root: &Path, lane: Lane, recipe: &Recipe) -> Result<Self, SetupError> {
        let path = manifest_of(root, lane).with_file_name("Cargo.lock");
        let text = bitnet_files::read_to_string(&path)
            .map_err(|e| SetupError::io("read", path.clone(), e))?;
        Self::in_lockfile(&text, recipe.package).ok_or_else(|| SetupError::Source {
            package: recipe.package.to_owned(),
            problem: format!("{} does not pin it", path.display()),
            path,
        })
    }

    fn in_lockfile(text: &str, name: &str) -> Option<Self> {
        let value = |block: &str, key: &str| {
            let start = format!("{key} = \"");
            let line = block.lines().find_map(|line| line.strip_prefix(&start))?;
            Some(line.trim_end_matches('"').to_owned())
        };
        let block = text
            .split("[[package]]")
            .find(|block| value(block, "name").as_deref() == Some(name))?;
        Some(Self {
            name: name.to_owned(),
            version: value(block, "version")?,
            checksum: value(block, "checksum")?,
        })
    }

    /// `name 1.2.3`.
    pub(super) fn words(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Has cargo bring all that the lane needs, and returns the package's archive, whose checksum
    /// is the pinned one.
    pub(super) fn fetch(
        &self,
        runner: &mut Runner<'_>,
        manifest: &Path,
    ) -> Result<PathBuf, SetupError> {
        let mut command = cargo();
        command
            .args(["fetch", "--locked", "--manifest-path"])
            .arg(manifest);
        let what = format!("fetch {} and what the lane is built with", self.words());
        runner.run(&what, &mut command).map_err(network_or_build)?;
        self.archive_below(&cargo_home().join("registry/cache"))
    }

    /// The package's archive in any of cargo's registries, if its checksum is the pinned one.
    fn archive_below(&self, registries: &Path) -> Result<PathBuf, SetupError> {
        let file = format!("{}-{}.crate", self.name, self.version);
        let mut problem = format!(
            "cargo fetched it, but there is no {file} below {}; a vendored registry cannot be used",
            registries.display()
        );
        let mut path = registries.to_owned();
        for registry in fs::read_dir(registries).into_iter().flatten().flatten() {
            let archive = registry.path().join(&file);
            if !archive.is_file() {
                continue;
            }
            let found = digest::of_file(&archive)
                .map_err(|e| SetupError::io("read", archive.clone(), e))?;
            if found == self.checksum {
                return Ok(archive);
            }
            problem = format!("its SHA256 is {found}, Cargo.lock pins {}", self.checksum);
            path = archive;
        }
        Err(SetupError::Source {
            package: self.words(),
            problem,
            path,
        })
    }
}

/// Unpacks a package's archive into `folder`.
pub(super) fn unpack(
    runner: &mut Runner<'_>,
    archive: &Path,
    folder: &Path,
) -> Result<(), SetupError> {
    let mut command = Command::new("tar");
    command
        .arg("-xzf")
        .arg(archive)
        .arg("-C")
        .arg(folder)
        .arg("--strip-components=1");
    runner.run("unpack the source", &mut command).map(drop)
}

fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".cargo")))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lanes_pin_their_source_by_version_and_checksum() {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        for lane in Lane::CPP {
            let recipe = Recipe::of(lane).expect("a recipe");
            let package = Package::pinned(root, lane, recipe).expect("a pin");
            assert_eq!(package.name, recipe.package);
            assert!(package.version.starts_with("0."), "{package:?}");
            assert_eq!(package.checksum.len(), 64, "{package:?}");
        }
    }

    #[test]
    fn only_an_archive_with_the_pinned_checksum_is_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let package = Package {
            name: "a".into(),
            version: "1.0.0".into(),
            checksum: digest::of_bytes(b"source"),
        };
        let find = || package.archive_below(folder.path());
        assert!(
            find()
                .expect_err("absent")
                .to_string()
                .contains("no a-1.0.0.crate")
        );
        let archive = folder.path().join("index/a-1.0.0.crate");
        fs::create_dir(folder.path().join("index")).expect("created");
        fs::write(&archive, b"other").expect("written");
        let error = find().expect_err("another source");
        assert!(matches!(error, SetupError::Source { .. }), "{error:?}");
        assert!(error.to_string().contains(&package.checksum), "{error}");
        fs::write(&archive, b"source").expect("written");
        assert_eq!(find().expect("the source"), archive);
    }

    #[test]
    fn a_pin_is_read_from_its_own_block() {
        let text = "version = 4\n\n[[package]]\nname = \"a-b\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"a\"\n\
                    version = \"2.0.0\"\nchecksum = \"ff\"\n";
        let package = Package::in_lockfile(text, "a").expect("pinned");
        assert_eq!(
            (package.version.as_str(), package.checksum.as_str()),
            ("2.0.0", "ff")
        );
        assert_eq!(
            Package::in_lockfile(text, "a-b"),
            None,
            "a path dependency is no pin"
        );
    }
}
