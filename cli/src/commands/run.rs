//! `bitnet run`: text from a prompt.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bitnet_engine::tokenizers::{Encode, Special, TemplateChoice};
use bitnet_engine::{Generation, StopReason};
use serde_json::json;

use crate::exit;
use crate::generation::{GenerationArgs, template};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    generation: GenerationArgs,
    /// What to continue; without it and --prompt-file, standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// File with what to continue
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Read special tokens in the prompt as such, not as text
    #[arg(long)]
    special: bool,
    /// How the prompt is put to the model. `auto`: by the model's chat template, else by its
    /// tokens, else by its path, else `instruct`
    #[arg(long, value_name = "TEMPLATE", default_value = "raw", value_parser = template())]
    prompt_template: TemplateChoice,
    /// What a chat template says before the prompt
    #[arg(long, value_name = "TEXT")]
    system_prompt: Option<String>,
    /// Most tokens to generate
    #[arg(long, default_value_t = 128, value_name = "N")]
    max_tokens: usize,
    /// Print one JSON object at the end instead of streaming text
    #[arg(long)]
    json: bool,
    /// Print no timings to standard error
    #[arg(long)]
    quiet: bool,
}

impl Args {
    fn prompt(&self) -> Result<String> {
        if let Some(prompt) = &self.prompt {
            return Ok(prompt.clone());
        }
        if let Some(path) = &self.prompt_file {
            return std::fs::read_to_string(path)
                .with_context(|| format!("prompt file {}", path.display()));
        }
        if io::stdin().is_terminal() {
            bail!(
                "there is nothing to continue; give --prompt TEXT or --prompt-file FILE, or pipe a text in"
            );
        }
        let mut prompt = String::new();
        io::stdin()
            .read_to_string(&mut prompt)
            .context("prompt from standard input")?;
        Ok(prompt)
    }
}

pub(crate) fn run(args: Args) -> Result<u8> {
    let options = args.generation.options(args.max_tokens)?;
    let prompt = args.prompt()?;
    let mut generator = args.generation.load()?;
    let template = generator.template(args.prompt_template, args.quiet);
    let prompt = template.apply(&prompt, args.system_prompt.as_deref());
    let special = if args.special {
        Special::Parse
    } else {
        template.special()
    };
    let ids = generator.tokenizer.encode(
        &prompt,
        Encode {
            bos: generator.tokenizer.add_bos(),
            special,
        },
    )?;
    let model = &mut generator.model;
    let wanted = ids.len().saturating_add(args.max_tokens);
    let context = model.config().context;
    let mut session = model.session(context.min(wanted))?;
    let mut stdout = io::stdout().lock();
    let result = if args.json {
        generator.generate(&mut session, &ids, &options, &mut io::sink())?
    } else {
        generator.generate(&mut session, &ids, &options, &mut stdout)?
    };
    let model = &mut generator.model;
    if args.json {
        let kernels = kernels(model);
        let value = json!({
            "model": generator.opened.name(),
            "device": model.device(),
            "tokenizer": generator.tokenizer.kind(),
            "prompt": prompt,
            "prompt_template": template.name(),
            "prompt_tokens": ids,
            "text": result.text,
            "tokens": result.tokens,
            "stop": result.stop.name(),
            "seed": args.generation.sampling.seed,
            "prefill_seconds": result.prefill.as_secs_f64(),
            "decode_seconds": result.decode.as_secs_f64(),
            "kernels": kernels,
        });
        writeln!(stdout, "{value:#}").context("standard output")?;
    } else if !result.text.is_empty() && !result.text.ends_with('\n') {
        writeln!(stdout).context("standard output")?;
    }
    if !args.quiet {
        eprintln!("{}", summary(ids.len(), &result, &model.device()));
    }
    Ok(if result.stop == StopReason::Cancelled {
        exit::INTERRUPTED
    } else {
        0
    })
}

/// How often each kernel ran, by name.
fn kernels(model: &mut bitnet_engine::Model) -> serde_json::Map<String, serde_json::Value> {
    let counts = model.backend().recorder().counts();
    counts
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect()
}

fn summary(prompt: usize, result: &Generation, device: &str) -> String {
    let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
    let generated = result.tokens.len();
    let decode = match generated {
        0 | 1 => String::new(),
        // The first token comes out of the prompt's pass.
        _ => format!(", {:.1} tokens/s", rate(generated - 1, result.decode)),
    };
    let end = match result.stop {
        StopReason::EndOfGeneration => "the model was done",
        StopReason::StopString => "a stop text appeared",
        StopReason::MaxTokens => "--max-tokens",
        StopReason::ContextFull => "the context is full",
        StopReason::Cancelled => "interrupted",
    };
    format!(
        "[{prompt} tokens read in {:.0} ms, {generated} generated{decode}; ended: {end}; {device}]",
        result.prefill.as_secs_f64() * 1e3
    )
}
