//! `bitnet models`: the models whose tokens can be counted by name.

use std::io::{self, Write};

use anyhow::{Context, Result};
use bitnet_engine::tokenizers::registry::{ModelSpec, PriceList, Registry};
use serde_json::{Value, json};

use crate::accounting::{PriceArgs, labels};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prices: PriceArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let registry = Registry::from_environment();
    let prices = args.prices.list()?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if args.json {
        let models: Vec<Value> = registry
            .models()
            .map(|spec| describe(&spec, &prices))
            .collect();
        writeln!(out, "{:#}", Value::Array(models))
    } else {
        table(&mut out, &registry, &prices)
    }
    .and_then(|()| out.flush())
    .context("standard output")?;
    Ok(0)
}

fn describe(spec: &ModelSpec, prices: &PriceList) -> Value {
    let mut value = labels(spec);
    value.insert("display_name".to_owned(), spec.display.as_str().into());
    value.insert("provider".to_owned(), json!(spec.provider));
    value.insert("family".to_owned(), json!(spec.family));
    let price = prices.price(&spec.canonical).map(|price| {
        json!({
            "input": price.input,
            "cached_input": price.cached_input,
            "output": price.output,
            "as_of": price.as_of.to_string(),
            "source": price.source,
        })
    });
    value.insert("usd_micros_per_million_tokens".to_owned(), json!(price));
    Value::Object(value)
}

fn table(out: &mut impl Write, registry: &Registry, prices: &PriceList) -> io::Result<()> {
    writeln!(
        out,
        "{:<32} {:<12} {:<10} {:>9} {:>9} {:>9}  dollars per million tokens",
        "model", "encoding", "accuracy", "input", "cached", "output"
    )?;
    for spec in registry.models() {
        let (name, encoding) = (&spec.canonical, spec.encoding_name());
        write!(
            out,
            "{name:<32} {encoding:<12} {:<10}",
            spec.accuracy.name()
        )?;
        match prices.price(name) {
            Some(price) => {
                let dollars = |micros: u64| {
                    bitnet_engine::tokenizers::registry::Cost::of_micros(micros).to_string()
                };
                writeln!(
                    out,
                    " {:>9} {:>9} {:>9}  of {}",
                    dollars(price.input),
                    dollars(price.cached_input),
                    dollars(price.output),
                    price.as_of
                )?;
            }
            None => writeln!(out)?,
        }
    }
    Ok(())
}
