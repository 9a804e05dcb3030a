//! `bitnet verify`: the answer of a receipt, made again.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bitnet_answer_receipts::{AnswerReceipt, CacheKind, Repeated, repeat};
use bitnet_engine::{Device, TemplateChoice};
use bitnet_process::{Watch, note};
use bitnet_provisioning::ModelSource;

use crate::exit;
use crate::source::{Kv, ModelArgs, ThreadArgs, find_recorded};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The receipt
    #[arg(value_name = "FILE")]
    receipt: PathBuf,
    /// GGUF file; without it, the model is looked for by its SHA-256
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Tokenizer file; without it: inside the model, beside it, in the folder above
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// The template that the receipt must be of, as for `run`; without it, the one that it names
    #[arg(long, value_name = "TEMPLATE", value_parser = TemplateChoice::of_argument)]
    prompt_template: Option<TemplateChoice>,
    #[command(flatten)]
    threads: ThreadArgs,
    /// Most tokens of the prompt in one forward pass
    #[arg(long, default_value_t = 512, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    batch: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let place = &args.receipt;
    let named = || format!("receipt {}", place.display());
    let receipt = AnswerReceipt::read(place).with_context(named)?;
    let source = match &args.model {
        Some(path) => ModelSource::Explicit(path.clone()),
        None => find_recorded(&receipt.model, place.parent().unwrap_or(Path::new("")))?,
    };
    let model = ModelArgs {
        model: None,
        device: Device::Cpu,
        threads: args.threads.clone(),
        batch: args.batch,
        kv: match receipt.model.cache_type {
            CacheKind::F16 => Kv::F16,
            CacheKind::F32 => Kv::F32,
        },
    };
    let (engine, _) = model.engine_of(&source, args.tokenizer.as_deref(), None)?;
    let watch = Watch::begin();
    let template = args.prompt_template.as_ref();
    let found = repeat(&receipt, &engine, template, || watch.code().is_some());
    if let Some(code) = watch.code() {
        return Ok(code);
    }
    let found = found.with_context(named)?;
    tell(&found, args.json).context("standard output")?;
    Ok(match found.holds() {
        true => 0,
        false => exit::DIFFERS,
    })
}

fn tell(found: &Repeated, as_json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if as_json {
        let mut value = serde_json::json!(found);
        value["holds"] = found.holds().into();
        return writeln!(stdout, "{value:#}");
    }
    for text in &found.notes {
        note!("note: {text}");
    }
    for difference in &found.differences {
        writeln!(stdout, "{difference}")?;
    }
    let steps = found.steps;
    match found.holds() {
        true => writeln!(
            stdout,
            "the receipt holds: {steps} steps are the same to the bit"
        ),
        false => writeln!(stdout, "the receipt does not hold"),
    }
}
