//! `bitnet run`: text from a prompt.

use std::io::{self, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bitnet_answer_receipts::{AnswerReceipt, Begun};
use bitnet_engine::{Generated, Prompt, StopReason, TemplateChoice};
use bitnet_process::note;
use serde_json::json;

use crate::generation::{GenerationArgs, tell, write};
use crate::output;
use crate::warnings;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    generation: GenerationArgs,
    /// What to continue; without it and --prompt-file, standard input
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        conflicts_with = "prompt_file"
    )]
    prompt: Option<String>,
    /// File with what to continue
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Read special tokens in the prompt as such, not as text
    #[arg(long)]
    special: bool,
    /// How the prompt is put to the model: `auto` (the template of its file, or beside it), `raw`
    /// (as it is), `instruct`, `llama3-chat`, a family (bitnet-2b-4t, llama3-instruct,
    /// falcon3-instruct, falcon-e-instruct, qwen3, bitcpm4, zephyr, chatml), or the file of a Jinja
    /// template
    #[arg(long, value_name = "TEMPLATE", default_value = "raw", value_parser = TemplateChoice::of_argument)]
    prompt_template: TemplateChoice,
    /// What a chat template says before the prompt
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system_prompt: Option<String>,
    /// Most tokens to generate
    #[arg(long, default_value_t = 128, value_name = "N")]
    max_tokens: usize,
    /// File to write a receipt into, from which `bitnet verify` makes the text again
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
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
            return bitnet_files::read_to_string(path)
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
    let options = options.digests(args.receipt.is_some());
    let asked = args.generation.constraint.read()?;
    let text = args.prompt()?;
    let (engine, name) = args.generation.load()?;
    let mut prompt = Prompt::from(text)
        .template(args.prompt_template)
        .special(args.special);
    if let Some(system) = args.system_prompt {
        prompt = prompt.system(system);
    }
    let prompt = engine.encode(prompt)?;
    let options = match asked {
        None => options,
        Some(asked) => {
            let encoder = engine.encoder();
            let constraint = asked.constraint(encoder)?;
            options.constraint(constraint.behind(encoder.thinking(&prompt)))
        }
    };
    tell(&engine, &prompt.template, args.quiet)?;
    let rendered = prompt.rendered.as_ref();
    warnings::of_marks(rendered.is_some_and(|text| text.altered_by_marks))?;
    let receipt = args.receipt.as_deref();
    let receipt = receipt.map(|place| {
        let file = output::replace(place, "receipt", |there| AnswerReceipt::read(there).is_ok())?;
        let begun = Begun::new(&engine, &name, &prompt, &options, engine.context());
        Ok::<_, anyhow::Error>((place, file, begun.context("the receipt")?))
    });
    let receipt = receipt.transpose()?;
    let mut generation = engine.generate(&prompt, &options)?;
    let mut stdout = io::stdout().lock();
    let ended_by = match args.json {
        true => write(&mut generation, &mut io::sink())?,
        false => write(&mut generation, &mut stdout)?,
    };
    let generated = generation.generated();
    let stop = generated.stop.filter(|_| ended_by.is_none());
    if let Some((place, mut file, begun)) = receipt {
        let text = begun.end(generated).text();
        let written = file.write_all(text.as_bytes()).and_then(|()| file.commit());
        written.with_context(|| format!("receipt {}", place.display()))?;
    }
    if args.json {
        let value = json!({
            "model": name,
            "device": engine.model().device(),
            "tokenizer": engine.tokenizer().kind(),
            "prompt": prompt.text(),
            "prompt_template": prompt.template.name(),
            "prompt_tokens": prompt.tokens,
            "text": generated.text,
            "tokens": generated.tokens,
            "stop": stop.map_or("cancelled", StopReason::name),
            "seed": args.generation.sampling.seed,
            "guessed_tokens": generated.guessed,
            "prefill_seconds": generated.prefill.as_secs_f64(),
            "decode_seconds": generated.decode.as_secs_f64(),
            "kernels": kernels(engine.model()),
        });
        writeln!(stdout, "{value:#}").context("standard output")?;
    } else if !generated.text.is_empty() && !generated.text.ends_with('\n') {
        writeln!(stdout).context("standard output")?;
    }
    if !args.quiet {
        let device = engine.model().device();
        note!("{}", summary(prompt.tokens.len(), generated, stop, &device));
    }
    Ok(ended_by.unwrap_or(0))
}

/// How often each kernel ran, by name.
fn kernels(model: &bitnet_engine::Model) -> serde_json::Map<String, serde_json::Value> {
    model.with_backend(|backend| {
        let counts = backend.recorder().counts();
        counts
            .map(|(name, count)| (name.to_owned(), count.into()))
            .collect()
    })
}

fn summary(prompt: usize, result: &Generated, stop: Option<StopReason>, device: &str) -> String {
    let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
    let generated = result.tokens.len();
    let decode = match generated {
        0 | 1 => String::new(),
        // The first token comes out of the prompt's pass.
        _ => format!(", {:.1} tokens/s", rate(generated - 1, result.decode)),
    };
    let end = match stop {
        Some(StopReason::EndOfGeneration) => "the model was done",
        Some(StopReason::Complete) => "the grammar is complete",
        Some(StopReason::StopString) => "a stop text appeared",
        Some(StopReason::MaxTokens) => "--max-tokens",
        Some(StopReason::ContextFull) => "the context is full",
        Some(other) => other.name(),
        None => "interrupted",
    };
    format!(
        "[{prompt} tokens read in {:.0} ms, {generated} generated{decode}; ended: {end}; {device}]",
        result.prefill.as_secs_f64() * 1e3
    )
}
