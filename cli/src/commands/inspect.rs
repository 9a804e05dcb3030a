//! `bitnet inspect`: what a GGUF file, or a tokenizer's own file, holds.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bitnet_engine::gguf::keys::Fate;
use bitnet_engine::gguf::{Gguf, Shown, TensorInfo, Value};
use bitnet_engine::metadata::{self, KeyAccount};
use bitnet_engine::tokenizers::Tokenizer;
use bitnet_engine::tokenizers::discovery::{TokenizerNotFound, TokenizerSource};
use serde_json::json;

use crate::source::{self, Opened};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// GGUF file or tokenizer.json; without it, the model that `run` would take
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// The same as FILE
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    model: Option<PathBuf>,
    /// Tokenizer file, instead of the one that `run` would find
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// Print JSON, arrays in full
    #[arg(long)]
    json: bool,
}

/// Elements of an array that the table shows.
const SHOWN: usize = 5;
/// Characters of a string that the table shows.
const WIDTH: usize = 96;

/// The tokenizer of a model: what it is and where it was found, or why there is none.
struct Found {
    kind: Result<String, String>,
    source: Option<TokenizerSource>,
}

impl Found {
    fn of(opened: &Opened, explicit: Option<&Path>) -> Result<Self> {
        match opened.find_tokenizer(explicit) {
            Ok(source) => Ok(Found {
                kind: opened
                    .load_tokenizer(&source)
                    .map(|tokenizer| tokenizer.kind().to_owned())
                    .map_err(|error| format!("{error:#}")),
                source: Some(source),
            }),
            Err(TokenizerNotFound::Anywhere(searched)) => Ok(Found {
                kind: Err(searched.in_one_line()),
                source: None,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The place, unless it is the model itself.
    fn path(&self) -> Option<String> {
        let path = self.source.as_ref()?.path()?;
        Some(path.display().to_string())
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.kind, self.path()) {
            (Ok(kind), None) => write!(f, "{kind}"),
            (Ok(kind), Some(path)) => write!(f, "{kind} ({path})"),
            (Err(problem), _) => write!(f, "{problem}"),
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let named = args.file.as_deref().or(args.model.as_deref());
    if let Some(path) = named.filter(|path| is_tokenizer(path)) {
        return tokenizer_file(path, args.json);
    }
    let opened = source::open(named)?;
    let gguf = &opened.gguf;
    let tokenizer = Found::of(&opened, args.tokenizer.as_deref())?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        let metadata: serde_json::Map<String, serde_json::Value> = gguf
            .metadata()
            .iter()
            .map(|(key, value)| Ok((key.to_owned(), to_json(value)?)))
            .collect::<Result<_>>()?;
        let keys: serde_json::Map<String, serde_json::Value> = metadata::account(gguf)
            .into_iter()
            .map(|KeyAccount { key, fate }| (key, fate_json(&fate)))
            .collect();
        let tensors: Vec<_> = gguf.tensors().iter().map(tensor_json).collect();
        let value = json!({
            "file": opened.name(),
            "version": gguf.version(),
            "alignment": gguf.alignment(),
            "file_bytes": gguf.file_len(),
            "metadata": metadata,
            "keys": keys,
            "tensors": tensors,
            "tokenizer": tokenizer.kind.as_ref().ok(),
            "tokenizer_source": tokenizer.source.as_ref().map(TokenizerSource::name),
            "tokenizer_path": tokenizer.path(),
            "tokenizer_error": tokenizer.kind.as_ref().err(),
        });
        serde_json::to_writer_pretty(&mut out, &value)
            .map_err(io::Error::from)
            .context("standard output")?;
        writeln!(out).context("standard output")?;
    } else {
        table(&mut out, &opened.name(), gguf, &tokenizer)?;
    }
    out.flush().context("standard output")?;
    Ok(0)
}

/// Whether the file begins as a `tokenizer.json` does. Everything else gets the words of the GGUF
/// reader.
fn is_tokenizer(path: &Path) -> bool {
    let mut start = [0; 64];
    // To open a pipe would wait for whoever writes to it.
    path.is_file()
        && bitnet_files::open(path)
            .and_then(|mut file| file.read(&mut start))
            .is_ok_and(|read| start[..read].trim_ascii_start().starts_with(b"{"))
}

fn tokenizer_file(path: &Path, json: bool) -> Result<u8> {
    let place = || format!("tokenizer {}", path.display());
    let tokenizer = Tokenizer::from_file(path).with_context(place)?;
    let named = |id: u32| json!({"id": id, "text": tokenizer.token_text(id)});
    let mut out = io::stdout().lock();
    let written = if json {
        let value = json!({
            "file": path.display().to_string(),
            "tokenizer": tokenizer.kind(),
            "tokens": tokenizer.vocab_size(),
            "bos": tokenizer.bos().map(named),
            "end_of_generation": tokenizer.eog_ids().iter().copied().map(named).collect::<Vec<_>>(),
            "config_hash": tokenizer.config_hash(),
        });
        writeln!(out, "{value:#}")
    } else {
        let text = |id: u32| format!("{id} {:?}", tokenizer.token_text(id).unwrap_or_default());
        let ends: Vec<_> = tokenizer.eog_ids().iter().copied().map(text).collect();
        writeln!(
            out,
            "{}: {}\n  begins a text: {}\n  end generation: {}\n  config hash: {}",
            path.display(),
            tokenizer.kind(),
            tokenizer.bos().map_or_else(|| "none".to_owned(), text),
            if ends.is_empty() {
                "none".to_owned()
            } else {
                ends.join(", ")
            },
            tokenizer.config_hash()
        )
    };
    written.context("standard output")?;
    Ok(0)
}

fn table(out: &mut impl Write, name: &str, gguf: &Gguf, tokenizer: &Found) -> Result<()> {
    let place = "standard output";
    let tensors = gguf.tensors();
    writeln!(
        out,
        "{name}: GGUF v{}, {:.1} MB, {} tensors, aligned to {} bytes",
        gguf.version(),
        gguf.file_len() as f64 / 1e6,
        tensors.len(),
        gguf.alignment()
    )
    .context(place)?;
    writeln!(out, "tokenizer: {tokenizer}\n\nmetadata").context(place)?;
    let mut accounts = metadata::account(gguf).into_iter();
    for ((key, value), account) in gguf.metadata().iter().zip(accounts.by_ref()) {
        let fate = match &account.fate {
            Fate::NoEffect(why) => format!("no effect: {why}"),
            other => other.name().to_owned(),
        };
        writeln!(out, "  {} = {}  ({fate})", Shown(key), brief(value)).context(place)?;
    }
    for KeyAccount { key, fate } in accounts {
        writeln!(out, "  {} is missing  ({})", Shown(&key), fate.name()).context(place)?;
    }
    let shown = tensors.iter().map(|tensor| Shown(&tensor.name).to_string());
    let shown: Vec<String> = shown.collect();
    let widest = shown.iter().map(|name| name.chars().count()).max();
    let widest = widest.unwrap_or(0);
    writeln!(out, "\ntensors").context(place)?;
    let mut totals: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for (tensor, name) in tensors.iter().zip(&shown) {
        let bytes = tensor.bytes.map_or_else(
            || "size unknown".to_owned(),
            |bytes| format!("{bytes} bytes"),
        );
        let shape = tensor
            .shape
            .iter()
            .map(u64::to_string)
            .collect::<Vec<_>>()
            .join(" x ");
        writeln!(
            out,
            "  {name:widest$}  {:8} {shape:>16}  {bytes}",
            tensor.type_name()
        )
        .context(place)?;
        let total = totals.entry(tensor.type_name()).or_default();
        total.0 += 1;
        total.1 += tensor.bytes.unwrap_or(0);
    }
    writeln!(out, "\ntotals").context(place)?;
    for (name, (count, bytes)) in totals {
        writeln!(
            out,
            "  {name:8} {count:5} tensors  {:10.1} MB",
            bytes as f64 / 1e6
        )
        .context(place)?;
    }
    Ok(())
}

fn brief(value: &Value) -> String {
    if let Some(text) = value.as_str() {
        let shown: String = text.chars().take(WIDTH).collect();
        let more = if shown.len() < text.len() { " ..." } else { "" };
        return format!("{shown:?}{more}");
    }
    if let Some(array) = value.as_array() {
        let shown: Vec<String> = array
            .iter()
            .take(SHOWN)
            .map(|item| item.map_or_else(|error| error.to_string(), |item| brief(&item)))
            .collect();
        let more = if array.len() > SHOWN { ", ..." } else { "" };
        return format!(
            "[{}{more}] ({} of {})",
            shown.join(", "),
            array.len(),
            array.element()
        );
    }
    scalar(value).to_string()
}

fn scalar(value: &Value) -> serde_json::Value {
    if let Some(integer) = value.as_integer() {
        return i64::try_from(integer).map_or_else(|_| (integer as u64).into(), Into::into);
    }
    if let Some(flag) = value.as_bool() {
        return flag.into();
    }
    // JSON has no NaN; the words for it are better than null.
    value.as_float().map_or(serde_json::Value::Null, |float| {
        serde_json::Number::from_f64(float).map_or_else(|| float.to_string().into(), Into::into)
    })
}

fn to_json(value: &Value) -> Result<serde_json::Value> {
    if let Some(text) = value.as_str() {
        return Ok(text.into());
    }
    match value.as_array() {
        Some(array) => array.iter().map(|item| to_json(&item?)).collect(),
        None => Ok(scalar(value)),
    }
}

fn fate_json(fate: &Fate) -> serde_json::Value {
    json!({"fate": fate.name(), "why": fate.why()})
}

fn tensor_json(tensor: &TensorInfo) -> serde_json::Value {
    json!({
        "name": tensor.name,
        "type": tensor.type_name(),
        "type_id": tensor.type_id,
        "shape": tensor.shape,
        "offset": tensor.offset,
        "bytes": tensor.bytes,
    })
}
