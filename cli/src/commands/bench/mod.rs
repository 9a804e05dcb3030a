//! `bitnet bench`: speed and memory of a model on this machine, beside what the machine can do.

mod machine;
mod report;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bitnet_engine::kernels::{Cost, Profile, Screening, Work};
use bitnet_engine::{Model, Output, Want};

use crate::source::ModelArgs;
use report::{Phase, Report};

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
    /// Show where the time goes, by kind of operation
    #[arg(long)]
    profile: bool,
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

/// What `passes` passes of `tokens` tokens of each of `sequences` sequences cost, one after another from `depth` on.
/// Logits of the last token of each sequence are wanted in every `selecting`th pass.
fn work(sequences: usize, depth: usize, passes: &[usize], selecting: usize) -> Work {
    let mut work = Work {
        passes: passes.len() as u64,
        selecting: selecting as u64,
        selected: (selecting * sequences) as u64,
        ..Work::default()
    };
    let mut position = depth as u64;
    for tokens in passes {
        let tokens = *tokens as u64;
        work.tokens += tokens * sequences as u64;
        work.cached += (position + tokens) * sequences as u64;
        work.seen += (tokens * position + tokens * (tokens + 1) / 2) * sequences as u64;
        position += tokens;
    }
    work
}

/// The cost of decoding, with what was read of the head in place of all of it.
fn screened(mut cost: Cost, work: &Work, screening: Option<Screening>) -> Cost {
    if let Some(screening) = screening.filter(|screening| screening.tokens > 0) {
        let row = cost.head_bytes / work.selecting.max(1) / screening.rows.max(1) as u64;
        let rows = screening.exact_rows * work.selected / screening.tokens;
        cost.head_bytes = work.selecting * screening.bytes + rows * row;
    }
    cost
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
    profile(&mut model, args.profile)?;
    model.backend().recorder().clear();
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
    let prefill_profile = model.backend().profile().cloned();

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
        profile(&mut model, args.profile)?;
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

    let decode_profile = model.backend().profile().cloned();
    let screening = model.backend().screening();
    let phase = |times: Vec<Duration>, tokens: usize, work: &Work, profile: Option<Profile>| {
        let cost = screened(model.plan().program.cost(work), work, screening);
        median(times).map(|time| Phase {
            tokens,
            time,
            cost,
            profile,
        })
    };
    let batch = args.model.batch as usize;
    let passes: Vec<usize> = prompt.chunks(batch).map(<[u32]>::len).collect();
    let prefill = phase(
        prefills,
        args.prompt_tokens,
        &work(1, args.depth, &passes, 1),
        prefill_profile,
    );
    let steps = vec![1; args.gen_tokens];
    let decode = phase(
        decodes,
        args.gen_tokens * args.sequences,
        &work(args.sequences, args.depth, &steps, args.gen_tokens),
        decode_profile,
    );
    let report = Report {
        model: opened.name().to_owned(),
        device: model.device(),
        cpu: machine::cpu(),
        prompt_tokens: args.prompt_tokens,
        gen_tokens: args.gen_tokens,
        depth: args.depth,
        sequences: args.sequences,
        repetitions: args.repetitions,
        load,
        first_token,
        // Before the machine is measured, which takes memory.
        peak_memory: machine::peak_memory(),
        file_bytes: opened.gguf.file_len() as u64,
        prefill,
        decode,
        kernels: model.backend().recorder().counts().collect(),
        limits: model.backend().limits(),
        screening,
    };
    let mut stdout = io::stdout().lock();
    if args.json {
        writeln!(stdout, "{:#}", report.json())
    } else {
        report.write(&mut stdout)
    }
    .context("standard output")?;
    Ok(0)
}

/// Starts a profile, if one is wanted.
fn profile(model: &mut Model, wanted: bool) -> Result<()> {
    if wanted && !model.backend().set_profiling(true) {
        bail!(
            "{} does not tell where its time goes; leave --profile out, or use --device cpu",
            model.device()
        );
    }
    Ok(())
}
