//! Brings a lane from whatever state it is in to the one that is wanted.

use std::fs;
use std::path::PathBuf;

use bitnet_crossval::lane::{Home, Lane};
use bitnet_process::{Interrupt, Watch, note};
use bitnet_provisioning::{Lock, LockError};

use super::check::{self, Ready, Unready};
use super::installation::Installation;
use super::package::Package;
use super::process::{Runner, Talk};
use super::program::{self, Reference};
use super::python::{self, Environment};
use super::recipe::Recipe;
use super::repair::{self, RepairMode};
use super::{SetupError, fingerprint, reference};
use crate::workspace;

/// Checks and builds lanes in one cache.
#[derive(Debug)]
pub struct Provision {
    root: PathBuf,
    home: Home,
    talk: Talk,
}

/// What a lane shall be built from, and the fingerprint that it then has.
struct Wanted {
    source: Source,
    fingerprint: String,
}

enum Source {
    Pinned(Package, &'static Recipe),
    Named(Installation),
    Python(Environment),
}

impl Provision {
    /// For the repository around the current folder, with the cache that the environment names.
    ///
    /// # Errors
    /// The current folder is not inside the repository, or there is no place for a cache.
    pub fn new(talk: Talk) -> anyhow::Result<Self> {
        Ok(Self {
            root: workspace::root()?,
            home: Home::named_by(std::env::var_os).ok_or(SetupError::NoCache)?,
            talk,
        })
    }

    /// The cache.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Whether `lane` is there, is what this repository wants, and computes. Builds nothing.
    ///
    /// # Errors
    /// An installation that the user names is none, or the repository's sources cannot be read.
    pub fn check(&self, lane: Lane) -> Result<Result<Ready, Unready>, SetupError> {
        let wanted = self.wanted(lane)?;
        Ok(check::check(
            &self.root,
            &self.home,
            lane,
            &wanted.fingerprint,
        ))
    }

    /// Checks `lane` and builds it where `mode` says so.
    ///
    /// # Errors
    /// It is not as wanted and must not be built, or the build failed.
    pub(crate) fn ensure(&self, lane: Lane, mode: RepairMode) -> Result<Ready, SetupError> {
        match (self.check(lane)?, mode) {
            (Ok(ready), RepairMode::Auto | RepairMode::Never) => Ok(ready),
            (Err(why), RepairMode::Never) => Err(SetupError::Unavailable {
                reference: lane.reference(),
                backend: lane.backend(),
                reason: why.to_string(),
            }),
            (Err(why), RepairMode::Auto) => {
                note!("{} backend not found: {why}", lane.reference());
                self.build(lane, false)
            }
            (_, RepairMode::Always) => self.build(lane, true),
        }
    }

    /// Builds `lane` if it is not as wanted, or if `anew`; its reference where there is none or
    /// where it may be at fault. What another process builds meanwhile is used.
    ///
    /// # Errors
    /// Whatever stopped the build, or the built lane does not work.
    pub fn build(&self, lane: Lane, anew: bool) -> Result<Ready, SetupError> {
        repair::guard()?;
        let watch = Watch::begin();
        let _lock = take_lock(&self.home, watch.interrupt())?;
        let wanted = self.wanted(lane)?;
        let anew = anew
            || match self.check(lane)? {
                Ok(ready) => return Ok(ready),
                Err(why) => why.blames_the_reference(),
            };
        let log = self
            .home
            .path()
            .join("logs")
            .join(format!("{}.log", lane.name()));
        let mut runner = Runner::new(lane.reference(), log, self.talk, watch.interrupt())?;
        let reference = self.reference(&mut runner, lane, wanted, anew)?;
        let folder = self.home.folder(lane);
        if lane == Lane::Transformers {
            python::program(&mut runner, &self.root, &reference, &folder)?;
        } else {
            program::build(
                &mut runner,
                &self.root,
                &self.home,
                lane,
                &reference,
                &folder,
            )?;
        }
        let checked = check::check(&self.root, &self.home, lane, &reference.fingerprint);
        let ready = checked.map_err(|why| SetupError::Unusable {
            reference: lane.reference(),
            problem: why.to_string(),
        })?;
        runner.note("ready");
        Ok(ready)
    }

    /// What the lane's program is built around: an installation as it is, the pinned source or the
    /// pinned packages built where necessary.
    fn reference(
        &self,
        runner: &mut Runner<'_>,
        lane: Lane,
        wanted: Wanted,
        anew: bool,
    ) -> Result<Reference, SetupError> {
        let (folder, words) = match wanted.source {
            Source::Named(installation) => {
                let words = installation.words(lane);
                (installation.path, words)
            }
            Source::Pinned(package, recipe) => {
                let words = format!("{} of {}", lane.reference(), package.words());
                let folder = reference::folder(&self.home, lane, &package, recipe);
                if anew || !folder.is_dir() {
                    reference::build(runner, &self.root, &self.home, lane, &package, recipe)?;
                }
                (folder, words)
            }
            Source::Python(environment) => {
                let folder = environment.folder(&self.home);
                if anew || !folder.is_dir() {
                    environment.build(runner, &self.home)?;
                }
                (folder, environment.words())
            }
        };
        Ok(Reference {
            folder,
            words,
            fingerprint: wanted.fingerprint,
        })
    }

    fn wanted(&self, lane: Lane) -> Result<Wanted, SetupError> {
        let (source, identity) = match (self.home.installation(lane), Recipe::of(lane)) {
            (Some(path), _) => {
                let installation = Installation::read(lane, path)?;
                let identity = installation.identity.clone();
                (Source::Named(installation), identity)
            }
            (None, Some(recipe)) => {
                let package = Package::pinned(&self.root, lane, recipe)?;
                let identity = format!("{} {}", package.checksum, recipe.text());
                (Source::Pinned(package, recipe), identity)
            }
            (None, None) => {
                let environment = Environment::pinned(&self.root)?;
                let identity = environment.identity.clone();
                (Source::Python(environment), identity)
            }
        };
        let fingerprint = fingerprint::of(&self.root, lane, &identity)?;
        Ok(Wanted {
            source,
            fingerprint,
        })
    }

    /// The folder of the reference that `lane` is built around, where it is or will be.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub(crate) fn reference_folder(&self, lane: Lane) -> Result<PathBuf, SetupError> {
        Ok(match self.wanted(lane)?.source {
            Source::Named(installation) => installation.path,
            Source::Pinned(package, recipe) => {
                reference::folder(&self.home, lane, &package, recipe)
            }
            Source::Python(environment) => environment.folder(&self.home),
        })
    }
}

/// One build at a time in one cache, whoever it is for.
pub(super) fn take_lock(home: &Home, interrupt: &Interrupt) -> Result<Lock, SetupError> {
    fs::create_dir_all(home.path()).map_err(|e| SetupError::io("create", home.path(), e))?;
    let tell = |owner: &str| note!("another build is running ({owner}); waiting for it");
    Lock::acquire(&home.path().join("setup.lock"), interrupt, tell).map_err(|error| match error {
        LockError::Io { path, source } => SetupError::io("lock", path, source),
        LockError::Interrupted => SetupError::Interrupted,
    })
}
