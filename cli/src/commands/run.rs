//! `bitnet run`: text from a prompt.

use std::io::{self, IsTerminal, Read, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bitnet_engine::tokenizers::{Encode, Special, TemplateChoice};
use bitnet_engine::{GenerateOptions, Generation, StopReason, generate};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde_json::json;

use crate::sampling::SamplingArgs;
use crate::source::{ModelArgs, check_vocabulary};
use crate::{exit, interrupt};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Tokenizer file; without it: inside the model, beside it, in the folder above
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// What to continue; without it and --prompt-file, standard input
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// File with what to continue
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Read special tokens in the prompt as such, not as text
    #[arg(long)]
    special: bool,
    /// How the prompt is put to the model. `auto`: by the model's chat template, else by its tokens, else by its path,
    /// else `instruct`
    #[arg(long, value_name = "TEMPLATE", default_value = "raw", value_parser = template())]
    prompt_template: TemplateChoice,
    /// What a chat template says before the prompt
    #[arg(long, value_name = "TEXT")]
    system_prompt: Option<String>,
    /// Most tokens to generate
    #[arg(long, default_value_t = 128, value_name = "N")]
    max_tokens: usize,
    /// Stop at this text, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Print one JSON object at the end instead of streaming text
    #[arg(long)]
    json: bool,
    /// Print no timings to standard error
    #[arg(long)]
    quiet: bool,
}

/// A parser of the templates' names.
pub(super) fn template() -> impl TypedValueParser<Value = TemplateChoice> {
    PossibleValuesParser::new(TemplateChoice::NAMES).try_map(|name| name.parse::<TemplateChoice>())
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
    let sampling = args.sampling.sampling()?;
    let prompt = args.prompt()?;
    let opened = args.model.open()?;
    let tokenizer = opened.tokenizer(args.tokenizer.as_deref())?;
    let mut model = opened.load(&args.model)?;
    check_vocabulary(&tokenizer, model.config())?;

    let (template, evidence) =
        args.prompt_template
            .resolve(&opened.gguf, &tokenizer, Path::new(&opened.name()));
    if let (Some(evidence), false) = (evidence, args.quiet) {
        eprintln!("template: {template} ({evidence})");
    }
    let prompt = template.apply(&prompt, args.system_prompt.as_deref());
    let special = if args.special {
        Special::Parse
    } else {
        template.special()
    };
    let ids = tokenizer.encode(
        &prompt,
        Encode {
            bos: tokenizer.add_bos(),
            special,
        },
    )?;
    let context = model.config().context;
    let mut session = model.session(context.min(ids.len().saturating_add(args.max_tokens)))?;
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampling,
        stop: args.stop.clone(),
    };
    let mut failed = None;
    let mut stdout = io::stdout().lock();
    let result = generate(
        &mut model,
        &tokenizer,
        &mut session,
        &ids,
        &options,
        |piece| {
            if !args.json
                && let Err(error) = stdout
                    .write_all(piece.as_bytes())
                    .and_then(|()| stdout.flush())
            {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            if interrupt::asked() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    )?;
    if let Some(error) = failed {
        return Err(error).context("standard output");
    }
    if args.json {
        let kernels = kernels(&mut model);
        let value = json!({
            "model": opened.name(),
            "device": model.device(),
            "tokenizer": tokenizer.kind(),
            "prompt": prompt,
            "prompt_template": template.name(),
            "prompt_tokens": ids,
            "text": result.text,
            "tokens": result.tokens,
            "stop": result.stop.name(),
            "seed": args.sampling.seed,
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
