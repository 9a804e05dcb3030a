//! `bitnet price`: what tokens cost.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use bitnet_accounting::Usage;
use serde_json::{Value, json};

use crate::accounting::{CountArgs, PriceArgs, inputs, labels, registry};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    count: CountArgs,
    #[command(flatten)]
    prices: PriceArgs,
    /// Files that are the input; standard input without them, or for `-`
    #[arg(value_name = "FILE", conflicts_with = "input_tokens")]
    files: Vec<PathBuf>,
    /// Tokens of the input, instead of counting a text
    #[arg(long, value_name = "N")]
    input_tokens: Option<u64>,
    /// Of the input, those that are in the provider's cache
    #[arg(long, value_name = "N", default_value_t = 0)]
    cached_tokens: u64,
    /// Of the input, those that the provider puts into its cache
    #[arg(long, value_name = "N", default_value_t = 0)]
    cache_write_tokens: u64,
    /// Tokens of the answer
    #[arg(long, value_name = "N", default_value_t = 0)]
    output_tokens: u64,
    /// Tokens of reasoning that is not shown, beside those of the answer; billed as output
    #[arg(long, value_name = "N", default_value_t = 0)]
    reasoning_tokens: u64,
    /// Take the rates of a batch, which is answered within a day
    #[arg(long)]
    batch: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    // Tokens that are given need no tokenizer.
    let (spec, input) = match args.input_tokens {
        Some(tokens) => (registry().resolve(&args.count.model), tokens),
        None => {
            let meter = args.count.meter()?;
            let mut counter = meter.counter();
            let mut tokens = 0;
            for input in inputs(&args.files)? {
                tokens += counter.count(&input.text, args.count.special())? as u64;
            }
            (meter.spec().clone(), tokens)
        }
    };
    let price = args.prices.price(&args.count.model, &spec)?;
    let usage = Usage {
        input,
        cached: args.cached_tokens,
        cache_writes: args.cache_write_tokens,
        output: args.output_tokens,
        reasoning: args.reasoning_tokens,
        batch: args.batch,
    };
    let cost = price.cost(usage)?;
    let mut out = io::stdout().lock();
    if args.json {
        let mut value = labels(&spec);
        for (key, field) in [
            ("tokens_input", json!(usage.input)),
            ("tokens_cached", json!(usage.cached)),
            ("tokens_output", json!(usage.output)),
            ("tokens_reasoning", json!(usage.reasoning)),
            ("cost_usd_micros", json!(cost.micros())),
            ("cost_usd", json!(cost.to_string())),
            ("prices_as_of", json!(price.as_of.to_string())),
            ("prices_source", json!(price.source)),
        ] {
            value.insert(key.to_owned(), field);
        }
        if usage.cache_writes > 0 {
            value.insert("tokens_cache_write".to_owned(), json!(usage.cache_writes));
        }
        if usage.batch {
            value.insert("batch".to_owned(), json!(true));
        }
        writeln!(out, "{:#}", Value::Object(value))
    } else {
        writeln!(
            out,
            "${cost}  {} ({}): {} input, {} of them cached{}, {} output, {} reasoning{}; prices of {}",
            spec.canonical,
            spec.accuracy.name(),
            usage.input,
            usage.cached,
            match usage.cache_writes {
                0 => String::new(),
                written => format!(", {written} put into the cache"),
            },
            usage.output,
            usage.reasoning,
            if usage.batch { ", in a batch" } else { "" },
            price.as_of
        )
    }
    .context("standard output")?;
    Ok(0)
}
