//! `bitnet chat`: a conversation, a line at a time.

use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bitnet_engine::tokenizers::{Encode, TemplateChoice};
use bitnet_engine::{GenerateOptions, StopReason, generate};

use super::run::template;
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
    /// How turns are put to the model. `auto`: by the model's chat template, else by its tokens, else by its path, else
    /// `instruct`
    #[arg(long, value_name = "TEMPLATE", default_value = "auto", value_parser = template())]
    prompt_template: TemplateChoice,
    /// What is said before the first turn
    #[arg(long, value_name = "TEXT")]
    system_prompt: Option<String>,
    /// Most tokens of one answer
    #[arg(long, default_value_t = 512, value_name = "N")]
    max_tokens: usize,
    /// Stop an answer at this text, which is not printed; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let sampling = args.sampling.sampling()?;
    let opened = args.model.open()?;
    let tokenizer = opened.tokenizer(args.tokenizer.as_deref())?;
    let mut model = opened.load(&args.model)?;
    check_vocabulary(&tokenizer, model.config())?;
    let name = opened.name();
    let (template, evidence) =
        args.prompt_template
            .resolve(&opened.gguf, &tokenizer, Path::new(&name));
    if let Some(evidence) = evidence {
        eprintln!("template: {template} ({evidence})");
    }
    let options = GenerateOptions {
        max_tokens: args.max_tokens,
        sampling,
        stop: args.stop.clone(),
    };
    let mut session = model.session(model.config().context)?;
    // Generated, but not read by the model yet: it ended there.
    let mut unread: Vec<u32> = Vec::new();
    let prompt = || {
        if io::stdin().is_terminal() {
            eprint!("> ");
        }
    };
    prompt();
    for line in io::stdin().lock().lines() {
        let line = line.context("standard input")?;
        if line.trim().is_empty() {
            prompt();
            continue;
        }
        let (first, mut ids) = (session.is_empty(), std::mem::take(&mut unread));
        let text = match first {
            true => template.apply(&line, args.system_prompt.as_deref()),
            false => template.follow(&line),
        };
        ids.extend(tokenizer.encode(
            &text,
            Encode {
                bos: first && tokenizer.add_bos(),
                special: template.special(),
            },
        )?);
        let before = session.len();
        let mut stdout = io::stdout().lock();
        let mut failed = None;
        let answer = generate(
            &mut model,
            &tokenizer,
            &mut session,
            &ids,
            &options,
            |piece| {
                let written = stdout.write_all(piece.as_bytes());
                if let Err(error) = written.and_then(|()| stdout.flush()) {
                    failed = Some(error);
                }
                match failed.is_some() || interrupt::asked() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            },
        )?;
        if let Some(error) = failed {
            return Err(error).context("standard output");
        }
        writeln!(stdout).context("standard output")?;
        match answer.stop {
            StopReason::Cancelled => return Ok(exit::INTERRUPTED),
            StopReason::ContextFull => {
                eprintln!(
                    "the conversation fills the context of {} tokens; start a new one",
                    session.capacity()
                );
                return Ok(exit::FAILURE);
            }
            StopReason::EndOfGeneration | StopReason::StopString | StopReason::MaxTokens => {}
        }
        let read = session.len() - before - ids.len();
        unread.extend(&answer.tokens[read..]);
        prompt();
    }
    Ok(0)
}
