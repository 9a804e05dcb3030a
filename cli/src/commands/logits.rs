//! `bitnet logits`: raw logits for given tokens.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bitnet_process::note;

use crate::output;
use crate::source::ModelArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Token ids, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    /// File to write: little-endian f32, one row of the vocabulary's size per token
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let opened = args.model.open()?;
    let model = opened.load(&args.model, None)?;
    let vocabulary = model.config().vocabulary;
    if let Some(id) = args.tokens.iter().find(|id| **id as usize >= vocabulary) {
        bail!("token {id} is outside the model's vocabulary of {vocabulary}");
    }
    let context = model.config().context;
    let mut session = model.session(context.min(args.tokens.len()))?;
    let place = || format!("output file {}", args.out.display());
    let mut file = output::create(&args.out, opened.path())?;
    let mut failed = None;
    session.feed_all(&args.tokens, |_, logits| {
        for logit in logits {
            if failed.is_none() {
                failed = file.write_all(&logit.to_le_bytes()).err();
            }
        }
    })?;
    if let Some(error) = failed.or_else(|| file.commit().err()) {
        return Err(error).with_context(place);
    }
    note!(
        "{} rows of {vocabulary} written to {}; {}",
        args.tokens.len(),
        args.out.display(),
        model.device()
    );
    Ok(0)
}
