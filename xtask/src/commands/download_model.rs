//! `xtask download-model`: one GGUF from the hub, a mirror or a folder, into
//! `models/<repository>/`.

use std::path::PathBuf;
use std::process::ExitCode;

use bitnet_files::Sha256Hex;
use bitnet_process::{Watch, say};
use bitnet_provisioning::DEFAULT_MODEL;
use bitnet_provisioning::download::{HubFile, Job, Outcome, Place, RepoId};
use indicatif::HumanBytes;

use super::transfer_args::TransferArgs;
use crate::{Exit, environment};

/// Flags of `xtask download-model`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Repository on the hub
    #[arg(long, value_name = "ORG/REPO", default_value = DEFAULT_MODEL.repository)]
    pub id: RepoId,

    /// File in the repository; only the last part of its name is used on disk
    #[arg(long, value_name = "PATH", default_value = DEFAULT_MODEL.file)]
    pub file: String,

    /// Output folder; the file goes to a folder in it named after the repository
    #[arg(long, value_name = "DIR", default_value = "models/")]
    pub out: PathBuf,

    /// Branch, tag or commit
    #[arg(long, value_name = "REF", default_value = "main")]
    pub rev: String,

    /// SHA256 the file must have
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<Sha256Hex>,

    /// Download again even if the file is there
    #[arg(long)]
    pub force: bool,

    /// Network and terminal.
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// Download the model.
///
/// # Errors
/// See [`DownloadError`](bitnet_provisioning::download::DownloadError) and
/// [`HubFileError`](bitnet_provisioning::download::HubFileError).
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let file = HubFile::new(args.id.clone(), &args.rev, &args.file)?;
    let place = Place::new(args.out.join(args.id.folder_name()).join(file.leaf()));
    let watch = Watch::begin();
    let outcome = args.transfer.downloader(&watch).fetch(&Job {
        source: args.transfer.base_url.locate(&file)?,
        place: place.clone(),
        sha256: args.sha256,
        size: None,
        token: environment::token()?,
        force: args.force,
        keep_validators: true,
        check: None,
    })?;
    let path = place.file().display();
    match outcome {
        Outcome::Downloaded { bytes, sha256 } => {
            say!("Downloaded {path} ({}, SHA256 {sha256})", HumanBytes(bytes))
        }
        Outcome::UpToDate {
            sha256: Some(sha256),
        } => say!("Up to date: {path} (SHA256 {sha256})"),
        Outcome::UpToDate { sha256: None } => {
            say!("Up to date: {path} (the server has nothing newer)")
        }
    }
    Ok(Exit::Success.into())
}
