//! `bitnet bench`: speed and memory of a model on this machine, beside what the machine can do.

mod memory;
mod report;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bitnet_engine::kernels::{Cost, Screening, Work};
use bitnet_engine::measure::{self, Sample, Workload};
use bitnet_engine::{Output, Want};

use crate::generation::Guesses;
use crate::source::{ModelArgs, screen_cache};
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
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    sequences: u16,
    /// Measurements, of which the median is shown
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    repetitions: u16,
    /// Measure what up to N guesses at a time change, too: where a text of --prompt-tokens is
    /// repeated with three tokens changed, and where others follow it
    #[arg(long, value_name = "N|off", default_value_t = Guesses(0))]
    speculate: Guesses,
    /// Folder that keeps the screen of the output head, as `run` has one; what is measured first
    /// writes it meanwhile, so the second time counts [default: none]
    #[arg(long, value_name = "DIR")]
    screen_cache: Option<PathBuf>,
    /// Show where the time goes, by kind of operation
    #[arg(long)]
    profile: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The cost of decoding, with what was read of the head in place of all of it.
fn screened(mut cost: Cost, work: &Work, screening: Option<Screening>) -> Cost {
    if let Some(screening) = screening.filter(|screening| screening.tokens > 0) {
        let row = cost.head_bytes / work.selecting.max(1) / screening.rows.max(1) as u64;
        let bytes = screening.bytes_read + screening.exact_rows * row;
        cost.head_bytes = bytes * work.selected / screening.tokens;
    }
    cost
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    if args.prompt_tokens == 0 && args.gen_tokens == 0 {
        bail!("there is nothing to measure; give --prompt-tokens or --gen-tokens");
    }
    let start = Instant::now();
    let opened = args.model.open()?;
    let model = opened.load(&args.model, args.screen_cache.as_deref().map(screen_cache))?;
    let load = start.elapsed();
    let config = model.config().clone();
    let workload = Workload {
        prompt_tokens: args.prompt_tokens,
        gen_tokens: args.gen_tokens,
        depth: args.depth,
        sequences: usize::from(args.sequences),
        repetitions: usize::from(args.repetitions),
    };
    if workload.positions() > config.context {
        bail!(
            "{} positions are needed, the model's context is {}; lower --depth or the token counts",
            workload.positions(),
            config.context
        );
    }
    if args.speculate.0 > 0 && (args.prompt_tokens < 12 || 2 * args.prompt_tokens > config.context)
    {
        bail!(
            "--speculate needs a text of --prompt-tokens, 12 at least, twice in a context of {}",
            config.context
        );
    }
    if args.speculate.0 > 0 && (!model.is_on_cpu() || model.plan().program.has_state()) {
        bail!(
            "on {} nothing is guessed for this model; leave --speculate out",
            model.device()
        );
    }
    if args.profile && !model.with_backend(|backend| backend.set_profiling(true)) {
        bail!(
            "{} does not tell where its time goes; leave --profile out, or use --device cpu",
            model.device()
        );
    }
    let mut session = model.session(1)?;
    let prompt = measure::tokens(1, config.vocabulary);
    session.feed(&prompt, Want::Top(1), &mut Output::default())?;
    let first_token = start.elapsed();
    drop(session);

    model.with_backend(|backend| backend.recorder().clear());
    let measured = measure::measure(&model, &workload, args.profile)?;
    let screening = model.with_backend(|backend| backend.screening());
    let guessed = match args.speculate.0 {
        0 => None,
        most => {
            let tokens = args.prompt_tokens;
            Some(measure::guessing(
                &model,
                tokens,
                most,
                workload.repetitions,
            )?)
        }
    };
    // While prefill is measured, the screen is being made: its passes read the head.
    let phase = |sample: Sample, screening: Option<Screening>| {
        let mut cost = model.plan().program.cost(&sample.work);
        cost.weight_bytes = cost.weight_bytes.saturating_sub(sample.skipped);
        Phase {
            cost: screened(cost, &sample.work, screening),
            sample,
        }
    };
    let prefill = measured.prefill.map(|sample| phase(sample, None));
    let decode = measured.decode.map(|sample| phase(sample, screening));
    let report = Report {
        model: opened.name().to_owned(),
        device: model.device(),
        cpu: measure::cpu_name(),
        workload,
        load,
        first_token,
        // Before the machine is measured, which takes memory.
        peak_memory: memory::peak(),
        file_bytes: opened.gguf.file_len() as u64,
        prefill,
        decode,
        guessed,
        kernels: model.with_backend(|backend| backend.recorder().counts().collect()),
        limits: model.with_backend(|backend| backend.limits()),
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
