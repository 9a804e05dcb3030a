//! `xtask tokenizer`: the LLaMA-3 `tokenizer.json`, checked before it appears under its name.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bitnet_process::{Watch, say};
use bitnet_provisioning::download::{
    DEFAULT_BASE_URL, DownloadError, HubFile, Job, Origin, Outcome, Place,
};
use indicatif::HumanBytes;

use super::tokenizer_error::TokenizerError;
use super::transfer_args::TransferArgs;
use crate::{Exit, environment, tokenizer_check};

const FILE: &str = "tokenizer.json";

/// Flags of `xtask tokenizer`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Output folder for tokenizer.json
    #[arg(long, value_name = "DIR", default_value = "models")]
    pub into: PathBuf,

    /// Where from: official requires HF_TOKEN, mirror no authentication
    #[arg(long, value_enum, default_value_t = TokenizerSource::Mirror)]
    pub source: TokenizerSource,

    /// Download again even if the file is there
    #[arg(long)]
    pub force: bool,

    /// Network and terminal.
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// Who offers the tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TokenizerSource {
    /// meta-llama/Meta-Llama-3-8B (requires HF_TOKEN)
    Official,
    /// baseten/Meta-Llama-3-tokenizer (no authentication)
    Mirror,
}

impl TokenizerSource {
    fn repository(self) -> &'static str {
        match self {
            Self::Official => "meta-llama/Meta-Llama-3-8B",
            Self::Mirror => "baseten/Meta-Llama-3-tokenizer",
        }
    }
}

/// Download the tokenizer, unless a good one is there.
///
/// # Errors
/// See [`TokenizerError`] and [`DownloadError`].
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let place = Place::new(args.into.join(FILE));
    let path = place.file();
    if path.exists() && !args.force {
        let tokens = tokenizer_check::check(path).map_err(|reason| TokenizerError::Validation {
            reason,
            command: format!("rm {}\n{}", path.display(), command(args, "")),
        })?;
        say!(
            "Already there: {} ({tokens} tokens). Download again with --force",
            path.display()
        );
        return Ok(Exit::Success.into());
    }
    let token = environment::token()?;
    let from_hub = args.transfer.base_url == Origin::Web(DEFAULT_BASE_URL.into());
    if args.source == TokenizerSource::Official && from_hub && token.is_none() {
        return Err(auth_error(args, None).into());
    }
    let file = HubFile::new(args.source.repository().parse()?, "main", FILE)?;
    let checked = |path: &Path| tokenizer_check::check(path).map(drop);
    let watch = Watch::begin();
    let outcome = args.transfer.downloader(&watch).fetch(&Job {
        source: args.transfer.base_url.locate(&file)?,
        place: place.clone(),
        sha256: None,
        size: None,
        // The mirror needs none, and a token goes nowhere it is not needed.
        token: token.filter(|_| args.source == TokenizerSource::Official),
        force: args.force,
        keep_validators: false,
        check: Some(&checked),
    });
    match outcome.map_err(|error| explain(args, error))? {
        Outcome::Downloaded { bytes, sha256 } => {
            say!(
                "Downloaded {} ({}, SHA256 {sha256})",
                path.display(),
                HumanBytes(bytes)
            );
        }
        Outcome::UpToDate { .. } => say!("Up to date: {}", path.display()),
    }
    Ok(Exit::Success.into())
}

/// A download's error in this command's words.
fn explain(args: &Args, error: DownloadError) -> anyhow::Error {
    let other_source = match args.source {
        TokenizerSource::Official => "Try mirror source: --source mirror",
        TokenizerSource::Mirror => "Try official source (requires HF_TOKEN): --source official",
    };
    match error {
        DownloadError::Network {
            attempt, attempts, ..
        } => TokenizerError::Network {
            attempt,
            attempts,
            other_source,
            source: error,
        }
        .into(),
        DownloadError::NotFound { .. } => TokenizerError::Network {
            attempt: 1,
            attempts: 1,
            other_source,
            source: error,
        }
        .into(),
        DownloadError::Auth { .. } => auth_error(args, Some(error)).into(),
        DownloadError::Rejected(reason) => TokenizerError::Validation {
            reason,
            command: command(args, " --force"),
        }
        .into(),
        DownloadError::Impostor { found, .. } => TokenizerError::Validation {
            reason: format!("what came is {found}"),
            command: command(args, " --force"),
        }
        .into(),
        other => other.into(),
    }
}

fn auth_error(args: &Args, source: Option<DownloadError>) -> TokenizerError {
    let into = args.into.display();
    let (reason, alternative) = match args.source {
        TokenizerSource::Official => (
            "HF_TOKEN required for official source",
            format!(
                "Use mirror source (no auth required)\ncargo xtask tokenizer --into {into} --source mirror"
            ),
        ),
        TokenizerSource::Mirror => (
            "the mirror refused access",
            format!(
                "Copy tokenizer.json from another machine into {into} (docs/how-to/offline.md)"
            ),
        ),
    };
    TokenizerError::Auth {
        reason,
        alternative,
        source,
    }
}

fn command(args: &Args, flags: &str) -> String {
    format!(
        "cargo xtask tokenizer --into {}{flags}",
        args.into.display()
    )
}
