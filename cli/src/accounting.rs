//! What `tokens`, `price` and `pipe` share: the model that is counted for, and its price.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bitnet_accounting::{
    Accuracy, Date, EncodingSpec, Meter, ModelSpec, Price, PriceList, Provider, Registry,
};
use bitnet_engine::tokenizers::Special;
use bitnet_process::note;

use serde_json::{Map, Value, json};

use crate::environment::model_discovery;
use crate::warnings;

/// The registry of models, with LLaMA-3's tokenizer where it is in `models/` or in this user's
/// cache.
pub(crate) fn registry() -> Registry {
    Registry::new(model_discovery().llama3_tokenizer())
}

/// Which model's tokens are counted.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct CountArgs {
    /// Model (`bitnet models` lists them), or the path of a tokenizer.json, tokenizer.model or
    /// GGUF file
    #[arg(
        long,
        short,
        value_name = "NAME",
        default_value = "gpt-4o",
        allow_hyphen_values = true
    )]
    pub(crate) model: String,
    /// Take special tokens in the text for what they are, not for text
    #[arg(long)]
    special: bool,
}

impl CountArgs {
    /// Loads what the model is counted with, saying on standard error when a count is not exact.
    pub(crate) fn meter(&self) -> Result<Meter> {
        let asked = registry().resolve(&self.model);
        let file = match &asked.encoding {
            Some(EncodingSpec::File(path)) => Some(path.clone()),
            _ => None,
        };
        let meter = Meter::load(asked.clone()).with_context(|| format!("model {}", self.model))?;
        let spec = meter.spec();
        for doubt in meter.doubts() {
            warnings::warn(doubt)?;
        }
        if let Some(file) = file.filter(|_| spec.encoding != asked.encoding) {
            note!(
                "note: {} does not hold LLaMA-3's tokenizer, so it is not used",
                file.display()
            );
        }
        match spec.accuracy {
            Accuracy::Exact => {}
            Accuracy::Family if meter.doubts().next().is_some() => {}
            Accuracy::Family => note!(
                "note: {} is counted by {}, the encoding of a relative{}",
                spec.canonical,
                spec.encoding_name(),
                match spec.provider {
                    Provider::Openai => "",
                    _ => "; for exact counts: cargo xtask tokenizer --into models/",
                }
            ),
            Accuracy::Heuristic => note!(
                "note: the encoding of {} is not known; its tokens are estimated from the number of characters",
                spec.canonical
            ),
        }
        Ok(meter)
    }

    /// How special tokens in texts are read.
    pub(crate) fn special(&self) -> Special {
        match self.special {
            true => Special::Parse,
            false => Special::AsText,
        }
    }
}

/// The fields that every machine-readable output begins with.
pub(crate) fn labels(spec: &ModelSpec) -> Map<String, Value> {
    let labels = json!({
        "model": spec.canonical,
        "encoding": spec.encoding_name(),
        "accuracy": spec.accuracy.name(),
    });
    match labels {
        Value::Object(labels) => labels,
        _ => Map::new(),
    }
}

/// Where prices come from.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct PriceArgs {
    /// Price list (JSON), instead of the one that ships: in its form, or as LiteLLM, OpenRouter and
    /// models.dev publish theirs
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) prices: Option<PathBuf>,
}

impl PriceArgs {
    /// The price of a model, which is `named` so: as the list has it under that very name, such as
    /// a reseller's or one that nobody knows, else under its own. Says on standard error when it
    /// was looked up too long ago.
    pub(crate) fn price(&self, named: &str, spec: &ModelSpec) -> Result<Price> {
        let list = self.list()?;
        let listed = list.price(named).or_else(|| list.price(&spec.canonical));
        let Some(price) = listed else {
            let place = self.prices.as_ref().map_or_else(
                || "the price list that ships".to_owned(),
                |path| path.display().to_string(),
            );
            bail!(
                "{place} has no price for {}; give one with --prices FILE (docs/explanation/token-accounting.md shows its form)",
                spec.canonical
            );
        };
        if let Some(days) = price.stale(Date::today()) {
            note!(
                "warning: the price of {} is of {}, {days} days ago ({}); give newer ones with --prices FILE",
                spec.canonical,
                price.as_of,
                price.source
            );
        }
        Ok(price.clone())
    }

    /// The list.
    pub(crate) fn list(&self) -> Result<Cow<'static, PriceList>> {
        Ok(match &self.prices {
            Some(path) => Cow::Owned(PriceList::read(path)?),
            None => Cow::Borrowed(PriceList::built_in()),
        })
    }
}

/// A text to count.
pub(crate) struct Input {
    /// The file's path, or `-`.
    pub(crate) name: String,
    /// Its bytes on disk.
    pub(crate) bytes: usize,
    /// Its text.
    pub(crate) text: String,
}

/// Reads files, or standard input where there are none or one is `-`. What is not UTF-8 is replaced
/// by U+FFFD, and said.
pub(crate) fn inputs(files: &[PathBuf]) -> Result<Vec<Input>> {
    let standard = [PathBuf::from("-")];
    let files = if files.is_empty() { &standard } else { files };
    files.iter().map(|path| input(path)).collect()
}

fn input(path: &Path) -> Result<Input> {
    let name = path.display().to_string();
    let mut bytes = Vec::new();
    if name == "-" {
        if io::stdin().is_terminal() {
            bail!("there is nothing to count; name files, or pipe a text in");
        }
        io::stdin()
            .read_to_end(&mut bytes)
            .context("standard input")?;
    } else {
        bytes = bitnet_files::read(path).with_context(|| format!("file {name}"))?;
    }
    let len = bytes.len();
    let text = String::from_utf8(bytes).unwrap_or_else(|error| {
        note!(
            "note: {name} is not UTF-8 at byte {}; what is not is counted as U+FFFD",
            error.utf8_error().valid_up_to()
        );
        String::from_utf8_lossy(error.as_bytes()).into_owned()
    });
    Ok(Input {
        name,
        bytes: len,
        text,
    })
}
