//! `bitnet price`: what tokens cost.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use bitnet_engine::tokenizers::registry::{Registry, Usage};
use serde_json::{Value, json};

use crate::accounting::{CountArgs, PriceArgs, inputs, labels};

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
    /// Tokens of the answer
    #[arg(long, value_name = "N", default_value_t = 0)]
    output_tokens: u64,
    /// Tokens of reasoning that is not shown, beside those of the answer; billed as output
    #[arg(long, value_name = "N", default_value_t = 0)]
    reasoning_tokens: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    // Tokens that are given need no tokenizer.
    let (spec, input) = match args.input_tokens {
        Some(tokens) => (
            Registry::from_environment().resolve(&args.count.model),
            tokens,
        ),
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
    let price = args.prices.price(&spec)?;
    let usage = Usage {
        input,
        cached: args.cached_tokens,
        output: args.output_tokens,
        reasoning: args.reasoning_tokens,
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
        writeln!(out, "{:#}", Value::Object(value))
    } else {
        writeln!(
            out,
            "${cost}  {} ({}): {} input, {} of them cached, {} output, {} reasoning; prices of {}",
            spec.canonical,
            spec.accuracy.name(),
            usage.input,
            usage.cached,
            usage.output,
            usage.reasoning,
            price.as_of
        )
    }
    .context("standard output")?;
    Ok(0)
}
