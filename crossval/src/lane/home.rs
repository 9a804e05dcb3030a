//! Where built lanes lie, and whether what lies there is what is wanted.
//!
//! One folder per lane and source in the cache: `LANE[-KEY]/lane.json` beside the
//! program, with a key where the user names an installation. The folder is made by
//! `cargo xtask setup-cpp-auto`; this module only reads it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::client::{Client, LaneFailure, Limits};
use super::reference::Lane;

/// Overrides where built references and lanes are kept.
pub const CACHE_VARIABLE: &str = "BITNET_CPP_CACHE";

/// The folder that holds built references and lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
    /// Installations that take the place of a lane's pinned source.
    installations: Vec<(Lane, PathBuf)>,
}

/// What a finished build says about itself, in `lane.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The lane's name.
    pub lane: String,
    /// Digest of everything that the build depends on.
    pub fingerprint: String,
    /// The reference and its version.
    pub reference: String,
    /// The program, relative to the manifest's folder.
    pub program: PathBuf,
    /// Seconds that the build took.
    pub seconds: f64,
}

/// A lane that is built and answers.
#[derive(Debug)]
pub struct Installed {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its program.
    pub program: PathBuf,
}

impl Home {
    /// The folder that `BITNET_CPP_CACHE` names, else `bitnet_cpp` in the user's cache folder, and
    /// the installations that the variables of the lanes name. `variable` gives the value of an
    /// environment variable. A reference of this very cache, which `setup-cpp-auto --emit` names
    /// for other programs, is no installation: it is the pinned one.
    pub fn named_by(variable: impl Fn(&'static str) -> Option<OsString>) -> Option<Self> {
        let set = |name| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let path = set(CACHE_VARIABLE)
            .or_else(|| Some(set("XDG_CACHE_HOME")?.join("bitnet_cpp")))
            .or_else(|| Some(set("HOME")?.join(".cache/bitnet_cpp")))
            .or_else(|| Some(set("LOCALAPPDATA")?.join("bitnet_cpp")))?;
        let mut home = Self {
            path,
            installations: Vec::new(),
        };
        for lane in Lane::CPP {
            if let Some(path) = lane.directory_variable().and_then(set)
                && !path.starts_with(home.references())
            {
                home.installations.push((lane, path));
            }
        }
        Some(home)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where references that were built from pinned sources lie.
    pub fn references(&self) -> PathBuf {
        self.path.join("reference")
    }

    /// The folder of one lane. An installation that the user names has a folder of its own, so that
    /// switching to and fro builds nothing again.
    pub fn folder(&self, lane: Lane) -> PathBuf {
        match self.installation(lane) {
            None => self.path.join(lane.name()),
            Some(path) => {
                let key = crate::digest::of_bytes(path.as_os_str().as_encoded_bytes());
                self.path.join(format!("{}-{}", lane.name(), &key[..12]))
            }
        }
    }

    /// The installation that the user names for a lane, in place of its pinned source.
    pub fn installation(&self, lane: Lane) -> Option<&Path> {
        let mut named = self.installations.iter();
        named.find_map(|(of, path)| (*of == lane).then_some(path.as_path()))
    }

    /// The built lane, if its manifest and program are there. Nothing is run.
    pub fn find(&self, lane: Lane) -> Option<Installed> {
        let folder = self.folder(lane);
        let text = bitnet_files::read_to_string(folder.join("lane.json")).ok()?;
        let manifest: Manifest = serde_json::from_str(&text).ok()?;
        let program = folder.join(&manifest.program);
        program.is_file().then_some(Installed { manifest, program })
    }

    /// Starts the built lane.
    ///
    /// # Errors
    /// When it is missing, does not answer, or is not what its manifest says.
    pub fn start(&self, lane: Lane, limits: Limits) -> Result<Client, LaneFailure> {
        let installed = self.find(lane).ok_or_else(|| LaneFailure::Version {
            lane: lane.name(),
            problem: format!(
                "{} is not built below {}",
                lane.reference(),
                self.path.display()
            ),
        })?;
        let client = Client::start(lane, &installed.program, limits)?;
        let (said, wanted) = (&client.hello().fingerprint, &installed.manifest.fingerprint);
        if said != wanted {
            return Err(LaneFailure::Version {
                lane: lane.name(),
                problem: format!("the program was built from {said}, its manifest says {wanted}"),
            });
        }
        Ok(client)
    }
}
