//! `xtask fetch-models`: the models of the lockfile, into the content-addressed cache.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use bitnet_files::{Sha256Hex, hash_file};
use bitnet_process::{Watch, note, say};
use bitnet_provisioning::download::{DownloadError, Downloader, Job, Outcome, Place};
use bitnet_provisioning::lockfile::{LOCKFILE, LockedModel, ModelLock, Tier};
use bitnet_provisioning::{CACHE_DIR_VARIABLE, Lock, LockError, ModelCache};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use indicatif::HumanBytes;

use super::transfer_args::TransferArgs;
use crate::{Exit, describe, environment, workspace};

/// Flags of `xtask fetch-models`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the models of this tier; all if left out
    #[arg(long, env = "BITNET_MODEL_TIER", hide_env_values = true, value_parser = PossibleValuesParser::new(Tier::NAMES).try_map(|name| name.parse::<Tier>()))]
    pub tier: Option<Tier>,

    /// Check what is in the cache; download nothing
    #[arg(long, conflicts_with = "force")]
    pub verify_only: bool,

    /// Download again even if the cache has it
    #[arg(long)]
    pub force: bool,

    /// Another lockfile than `crossval-models.lock.json` at the root of the repository
    #[arg(long, value_name = "FILE")]
    pub lockfile: Option<PathBuf>,

    /// Network and terminal.
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// Fetch or verify the models.
///
/// # Errors
/// The lockfile cannot be used, a model cannot be had, or with `--verify-only` is missing or wrong.
/// The other models are fetched all the same.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let lockfile = match &args.lockfile {
        Some(path) => path.clone(),
        None => workspace::root()?.join(LOCKFILE),
    };
    let lock = ModelLock::read(&lockfile)?;
    let cache = environment::cache().ok_or_else(|| {
        anyhow!("there is no home folder for the model cache. Solution: set {CACHE_DIR_VARIABLE}")
    })?;
    let watch = Watch::begin();
    let downloader = args.transfer.downloader(&watch);
    let models = lock
        .models
        .iter()
        .filter(|model| args.tier.is_none_or(|tier| tier == model.tier));
    if args.verify_only {
        return verify(models, &cache, &downloader);
    }
    let _lock = lock_cache(&cache, &downloader)?;
    let folder = lockfile.parent().unwrap_or(Path::new("."));
    let mut failed: Vec<anyhow::Error> = Vec::new();
    for model in models {
        let fetched = fetch(model, &cache, &downloader, args, folder);
        if let Err(error) = fetched.with_context(|| format!("model {}", model.name)) {
            let ends = stops_the_rest(&error);
            failed.push(error);
            if ends {
                break;
            }
        }
    }
    // The first that failed is the error of the command; the others are told before it.
    let mut failed = failed.into_iter();
    let first = failed.next();
    for error in failed {
        note!("Error: {}\n", describe(&error));
    }
    first.map_or(Ok(Exit::Success.into()), Err)
}

/// Whether what stopped one model would stop every other too: Ctrl-C, or a full disk.
fn stops_the_rest(error: &anyhow::Error) -> bool {
    matches!(Exit::of(error), Exit::Interrupted | Exit::NoSpace)
}

/// One process at a time changes the cache: two that fetch the same model would otherwise download
/// it twice.
fn lock_cache(cache: &ModelCache, downloader: &Downloader) -> anyhow::Result<Lock> {
    for folder in [Some(cache.models()), cache.lock().parent()]
        .into_iter()
        .flatten()
    {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let waiting = |owner: &str| note!("Waiting for another fetch-models to end ({owner})");
    Lock::acquire(cache.lock(), &downloader.interrupt, waiting).map_err(|error| match error {
        LockError::Interrupted => DownloadError::Interrupted { part: None }.into(),
        error @ LockError::Io { .. } => error.into(),
    })
}

fn fetch(
    model: &LockedModel,
    cache: &ModelCache,
    downloader: &Downloader,
    args: &Args,
    folder: &Path,
) -> anyhow::Result<()> {
    let sha256 = model.sha256.to_string();
    let place = Place::with_part_suffix(cache.model(&sha256), ".partial");
    let source = model.source(&args.transfer.base_url, folder)?;
    let from = source.to_string();
    let outcome = downloader.fetch(&Job {
        source,
        place: place.clone(),
        sha256: Some(model.sha256),
        size: Some(model.size_bytes),
        token: if model.is_on_hub() {
            environment::token()?
        } else {
            None
        },
        force: args.force,
        keep_validators: false,
        check: None,
    })?;
    let path = place.file().display();
    match outcome {
        Outcome::Downloaded { bytes, .. } => {
            say!(
                "{}: downloaded to {path} ({})",
                model.name,
                HumanBytes(bytes)
            );
            record(model, &cache.metadata(&sha256), Some(from))?;
        }
        Outcome::UpToDate { .. } => {
            say!("{}: verified in the cache at {path}", model.name);
            // A run killed between the file and its record leaves the file without one.
            if !cache.metadata(&sha256).is_file() {
                record(model, &cache.metadata(&sha256), None)?;
            }
        }
    }
    Ok(())
}

/// What `.metadata.json` says of a cached model.
#[derive(serde::Serialize)]
struct Metadata<'a> {
    name: &'a str,
    /// Where it came from; absent if that was not recorded in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    url: &'a str,
    sha256: Sha256Hex,
    size_bytes: u64,
    /// Seconds since 1970, UTC.
    recorded_unix: u64,
}

fn record(model: &LockedModel, path: &Path, source: Option<String>) -> anyhow::Result<()> {
    let recorded_unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let metadata = Metadata {
        name: &model.name,
        source,
        url: &model.url,
        sha256: model.sha256,
        size_bytes: model.size_bytes,
        recorded_unix,
    };
    let json = serde_json::to_vec_pretty(&metadata)?;
    bitnet_files::replace(path, &json).with_context(|| format!("cannot write {}", path.display()))
}

/// Look at every model, then report the worst: a wrong hash before a missing file.
fn verify<'a>(
    models: impl Iterator<Item = &'a LockedModel>,
    cache: &ModelCache,
    downloader: &Downloader,
) -> anyhow::Result<ExitCode> {
    let (mut missing, mut wrong) = (None, None);
    for model in models {
        let path = cache.model(&model.sha256.to_string());
        match hash_file(&path, || downloader.interrupt.is_raised()) {
            Ok(found) if found == model.sha256 => {
                say!("{}: ok ({})", model.name, path.display())
            }
            Ok(found) => {
                say!(
                    "{}: WRONG: {} has SHA256 {found}, expected {}",
                    model.name,
                    path.display(),
                    model.sha256
                );
                wrong = Some(model);
            }
            Err(_) if downloader.interrupt.is_raised() => {
                return Err(DownloadError::Interrupted { part: None }.into());
            }
            Err(error) => {
                say!("{}: MISSING: {}: {error}", model.name, path.display());
                missing = Some(model);
            }
        }
    }
    match (wrong, missing) {
        (None, None) => Ok(Exit::Success.into()),
        (wrong, _) => {
            note!("Error: the cache is not complete\n\nSolution: cargo xtask fetch-models");
            Ok(if wrong.is_some() {
                Exit::HashMismatch
            } else {
                Exit::Failure
            }
            .into())
        }
    }
}
