//! `bitnet models`: the models whose tokens can be counted by name.

use std::io::{self, Write};

use anyhow::{Context, Result};
use bitnet_accounting::{Cost, ModelSpec, PriceList, Rates, Registry, Tier};
use serde_json::{Value, json};

use crate::accounting::{PriceArgs, labels, registry};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    prices: PriceArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let registry = registry();
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
        let mut value = described_tier(&price.base);
        value["as_of"] = price.as_of.to_string().into();
        value["source"] = price.source.as_str().into();
        if !price.long_context.is_empty() {
            let long = price.long_context.iter().map(|(above, tier)| {
                let mut value = described_tier(tier);
                value["above"] = (*above).into();
                value
            });
            value["long_context"] = long.collect();
        }
        value
    });
    value.insert("usd_micros_per_million_tokens".to_owned(), json!(price));
    Value::Object(value)
}

fn described_tier(tier: &Tier) -> Value {
    let rates = |rates: &Rates| {
        json!({
            "input": rates.input,
            "cached_input": rates.cached_input,
            "cache_write": rates.cache_write,
            "output": rates.output,
        })
    };
    let mut value = rates(&tier.standard);
    if let Some(batch) = &tier.batch {
        value["batch"] = rates(batch);
    }
    value
}

fn table(out: &mut impl Write, registry: &Registry, prices: &PriceList) -> io::Result<()> {
    writeln!(
        out,
        "{:<36} {:<13} {:<10} {:>9} {:>9} {:>9}  dollars per million tokens",
        "model", "encoding", "accuracy", "input", "cached", "output"
    )?;
    for spec in registry.models() {
        let (name, encoding) = (&spec.canonical, spec.encoding_name());
        write!(
            out,
            "{name:<36} {encoding:<13} {:<10}",
            spec.accuracy.name()
        )?;
        match prices.price(name) {
            Some(price) => {
                let dollars = |micros: u64| Cost::of_micros(micros).to_string();
                writeln!(
                    out,
                    " {:>9} {:>9} {:>9}  of {}",
                    dollars(price.base.standard.input),
                    dollars(price.base.standard.cached_input),
                    dollars(price.base.standard.output),
                    price.as_of
                )?;
            }
            None => writeln!(out)?,
        }
    }
    Ok(())
}
