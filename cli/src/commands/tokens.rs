//! `bitnet tokens`: how many tokens texts have.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use bitnet_engine::tokenizers::Encode;
use serde_json::{Value, json};

use crate::accounting::{CountArgs, inputs, labels};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    count: CountArgs,
    /// Files to count; standard input without them, or for `-`
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print the ids too
    #[arg(long)]
    ids: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is said of one input.
struct Counted {
    name: String,
    bytes: usize,
    tokens: usize,
    ids: Option<Vec<u32>>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let meter = args.count.meter()?;
    let special = args.count.special();
    let mut counter = meter.counter();
    let mut counted = Vec::new();
    for input in inputs(&args.files)? {
        let ids = match (args.ids, meter.tokenizer()) {
            (false, _) => None,
            (true, Some(tokenizer)) => {
                let plain = Encode {
                    bos: false,
                    special,
                };
                Some(tokenizer.encode(&input.text, plain)?)
            }
            (true, None) => bail!(
                "the encoding of {} is not known, so there are no ids; leave --ids out for an estimate",
                meter.spec().canonical
            ),
        };
        counted.push(Counted {
            tokens: match &ids {
                Some(ids) => ids.len(),
                None => counter.count(&input.text, special)?,
            },
            name: input.name,
            bytes: input.bytes,
            ids,
        });
    }
    let total: usize = counted.iter().map(|input| input.tokens).sum();
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        let mut value = labels(meter.spec());
        value.insert("tokens_input".to_owned(), total.into());
        value.insert("inputs".to_owned(), counted.iter().map(describe).collect());
        writeln!(out, "{:#}", Value::Object(value))
    } else {
        table(&mut out, &counted, total)
    }
    .and_then(|()| out.flush())
    .context("standard output")?;
    Ok(0)
}

fn describe(input: &Counted) -> Value {
    let mut value = json!({
        "name": input.name,
        "bytes": input.bytes,
        "tokens_input": input.tokens,
    });
    if let Some(ids) = &input.ids {
        value["ids"] = ids.as_slice().into();
    }
    value
}

/// A number alone for one input, a line for each of several.
fn table(out: &mut impl Write, counted: &[Counted], total: usize) -> io::Result<()> {
    for input in counted {
        match counted {
            [_] => writeln!(out, "{}", input.tokens)?,
            _ => writeln!(out, "{:>10}  {}", input.tokens, input.name)?,
        }
        if let Some(ids) = &input.ids {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            writeln!(out, "{}", ids.join(" "))?;
        }
    }
    if counted.len() > 1 {
        writeln!(out, "{total:>10}  total")?;
    }
    Ok(())
}
