//! `bitnet bench`: speed and memory of a model on this machine.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bitnet_engine::{Output, Want};
use serde_json::json;

use crate::source::ModelArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Tokens of the prompt
    #[arg(long, default_value_t = 512, value_name = "N")]
    prompt_tokens: usize,
    /// Tokens to decode
    #[arg(long, default_value_t = 128, value_name = "N")]
    gen_tokens: usize,
    /// Tokens that stand in the context before anything is measured
    #[arg(long, default_value_t = 0, value_name = "N")]
    depth: usize,
    /// Sequences decoded side by side, each with its own cache
    #[arg(long, default_value_t = 1, value_name = "N")]
    sequences: usize,
    /// Measurements, of which the median is shown
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    repetitions: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Token ids without meaning that a random number generator of one line gives.
fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count as u64)
        .map(|i| ((i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % vocabulary as u64) as u32)
        .collect()
}

fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// The most memory this process ever had resident, in bytes, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    if args.prompt_tokens + args.gen_tokens == 0 || args.sequences == 0 {
        bail!(
            "there is nothing to measure; give --prompt-tokens or --gen-tokens, and at least one of --sequences"
        );
    }
    let start = Instant::now();
    let opened = args.model.open()?;
    let mut model = opened.load(&args.model)?;
    let load = start.elapsed();
    let config = model.config().clone();
    let capacity = args.depth + args.prompt_tokens.max(args.gen_tokens).max(1);
    if capacity > config.context {
        bail!(
            "{capacity} positions are needed, the model's context is {}; lower --depth or the token counts",
            config.context
        );
    }
    let mut out = Output::default();

    let mut session = model.session(capacity)?;
    model.feed(
        &mut session,
        &tokens(1, config.vocabulary),
        Want::Top(1),
        &mut out,
    )?;
    let first_token = start.elapsed();

    session.truncate(0);
    let depth = tokens(args.depth, config.vocabulary);
    if !depth.is_empty() {
        model.feed(&mut session, &depth, Want::Nothing, &mut out)?;
    }
    let prompt = tokens(args.prompt_tokens, config.vocabulary);
    let mut prefills = Vec::new();
    if !prompt.is_empty() {
        for _ in 0..args.repetitions {
            session.truncate(args.depth);
            let start = Instant::now();
            model.feed(&mut session, &prompt, Want::Top(1), &mut out)?;
            prefills.push(start.elapsed());
        }
    }
    model.end(session);

    let mut decodes = Vec::new();
    if args.gen_tokens > 0 {
        let mut sessions = Vec::new();
        for _ in 0..args.sequences {
            let mut session = model.session(capacity)?;
            if !depth.is_empty() {
                model.feed(&mut session, &depth, Want::Nothing, &mut out)?;
            }
            sessions.push(session);
        }
        for _ in 0..args.repetitions {
            for session in &mut sessions {
                session.truncate(args.depth);
            }
            let mut next = tokens(args.sequences, config.vocabulary);
            let start = Instant::now();
            for _ in 0..args.gen_tokens {
                model.step(&mut sessions, &next, Want::Top(1), &mut out)?;
                for (token, best) in next.iter_mut().zip(&out.top) {
                    *token = best.id;
                }
            }
            decodes.push(start.elapsed());
        }
    }

    let rate = |tokens: usize, times: Vec<Duration>| {
        median(times).map(|time| tokens as f64 / time.as_secs_f64())
    };
    let prefill = rate(args.prompt_tokens, prefills);
    let decode = rate(args.gen_tokens * args.sequences, decodes);
    let memory = peak_memory();
    let mut stdout = io::stdout().lock();
    if args.json {
        let value = json!({
            "model": opened.name(),
            "device": model.device(),
            "prompt_tokens": args.prompt_tokens,
            "gen_tokens": args.gen_tokens,
            "depth": args.depth,
            "sequences": args.sequences,
            "repetitions": args.repetitions,
            "load_seconds": load.as_secs_f64(),
            "first_token_seconds": first_token.as_secs_f64(),
            "prefill_tokens_per_second": prefill,
            "decode_tokens_per_second": decode,
            "peak_memory_bytes": memory,
            "file_bytes": opened.gguf.file_len(),
        });
        writeln!(stdout, "{value:#}").context("standard output")?;
        return Ok(0);
    }
    let shown = |value: Option<f64>| {
        value.map_or_else(
            || "not measured".to_owned(),
            |value| format!("{value:.1} tokens/s"),
        )
    };
    writeln!(stdout, "{}: {}", opened.name(), model.device()).context("standard output")?;
    let rows = [
        (
            format!("prefill {} at depth {}", args.prompt_tokens, args.depth),
            shown(prefill),
        ),
        (
            format!(
                "decode {} x {} at depth {}",
                args.sequences, args.gen_tokens, args.depth
            ),
            shown(decode),
        ),
        (
            "load".to_owned(),
            format!("{:.1} ms", load.as_secs_f64() * 1e3),
        ),
        (
            "load and first token of a 1-token prompt".to_owned(),
            format!("{:.1} ms", first_token.as_secs_f64() * 1e3),
        ),
        (
            "peak memory".to_owned(),
            memory.map_or_else(
                || "not known here".to_owned(),
                |bytes| format!("{:.1} MB", bytes as f64 / 1e6),
            ),
        ),
    ];
    for (name, value) in rows {
        writeln!(stdout, "  {name:42} {value}").context("standard output")?;
    }
    Ok(0)
}
