//! One digest of everything that a lane's behaviour depends on: change any of it and the lane is
//! out of date.

use std::fs;
use std::path::{Path, PathBuf};

use bitnet_crossval::digest;
use bitnet_crossval::lane::Lane;

use super::program::manifest_of;
use super::{SetupError, python};

/// What a lane is made of, beside its reference, below the repository's root.
fn sources(root: &Path, lane: Lane) -> Vec<PathBuf> {
    if lane == Lane::Transformers {
        return python::sources(root);
    }
    let manifest = manifest_of(root, lane);
    let lane = manifest.parent().unwrap_or(root);
    let wrapper = lane.with_file_name("wrapper");
    let protocol = root.join("crossval/protocol");
    vec![
        manifest.clone(),
        manifest.with_file_name("Cargo.lock"),
        lane.join("build.rs"),
        lane.join("src"),
        wrapper.join("Cargo.toml"),
        wrapper.join("build.rs"),
        wrapper.join("src"),
        protocol.join("Cargo.toml"),
        protocol.join("src"),
    ]
}

/// The digest of the lane's own sources and of `reference`, which stands for the C++ below.
pub(super) fn of(root: &Path, lane: Lane, reference: &str) -> Result<String, SetupError> {
    let mut text = format!("{reference}\n");
    for source in sources(root, lane) {
        for file in files_below(&source)? {
            let digest =
                digest::of_file(&file).map_err(|e| SetupError::io("read", file.clone(), e))?;
            let shown = file.strip_prefix(root).unwrap_or(&file).display();
            text.push_str(&format!("{shown} {digest}\n"));
        }
    }
    Ok(digest::of_bytes(text.as_bytes()))
}

/// A file, or all files of a folder in alphabetical order.
fn files_below(path: &Path) -> Result<Vec<PathBuf>, SetupError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path).map_err(|e| SetupError::io("read", path, e))?;
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        files.extend(files_below(&path)?);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    #[test]
    fn lanes_and_references_have_fingerprints_of_their_own() {
        let of = |lane, reference| of(Path::new(ROOT), lane, reference).expect("readable sources");
        let one = of(Lane::BitnetCpp, "a");
        assert_eq!(one, of(Lane::BitnetCpp, "a"));
        assert_ne!(one, of(Lane::BitnetCpp, "b"));
        assert_ne!(one, of(Lane::LlamaCpp, "a"));
    }
}
