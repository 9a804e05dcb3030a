//! `bitnet chat`: a conversation, a line at a time.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use bitnet_engine::StopReason;
use bitnet_engine::tokenizers::{Encode, TemplateChoice};

use crate::exit;
use crate::generation::{GenerationArgs, template};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    generation: GenerationArgs,
    /// How turns are put to the model. `auto`: by the model's chat template, else by its tokens,
    /// else by its path, else `instruct`
    #[arg(long, value_name = "TEMPLATE", default_value = "auto", value_parser = template())]
    prompt_template: TemplateChoice,
    /// What is said before the first turn
    #[arg(long, value_name = "TEXT")]
    system_prompt: Option<String>,
    /// Most tokens of one answer
    #[arg(long, default_value_t = 512, value_name = "N")]
    max_tokens: usize,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let options = args.generation.options(args.max_tokens)?;
    let mut generator = args.generation.load()?;
    let template = generator.template(args.prompt_template, false);
    let model = &mut generator.model;
    let context = model.config().context;
    let mut session = model.session(context)?;
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
        ids.extend(generator.tokenizer.encode(
            &text,
            Encode {
                bos: first && generator.tokenizer.add_bos(),
                special: template.special(),
            },
        )?);
        let before = session.len();
        let mut stdout = io::stdout().lock();
        let answer = generator.generate(&mut session, &ids, &options, &mut stdout)?;
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
