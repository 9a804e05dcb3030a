//! `bitnet chat`: a conversation, a line at a time.

use std::io::{self, BufRead, IsTerminal, Write};

use anyhow::{Context, Result};
use bitnet_engine::{ChatOptions, StopReason, TemplateChoice};

use crate::generation::{GenerationArgs, tell, write};
use crate::{exit, interrupt, warnings};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    generation: GenerationArgs,
    /// How turns are put to the model: `auto` (the template of its file, or beside it), `raw` (as
    /// it is), `instruct`, `llama3-chat`, a family (bitnet-2b-4t, llama3-instruct,
    /// falcon3-instruct, falcon-e-instruct, qwen3, bitcpm4, zephyr, chatml), or the file of a Jinja
    /// template
    #[arg(long, value_name = "TEMPLATE", default_value = "auto", value_parser = TemplateChoice::of_argument)]
    prompt_template: TemplateChoice,
    /// What is said before the first turn
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    system_prompt: Option<String>,
    /// Most tokens of one answer
    #[arg(long, default_value_t = 512, value_name = "N")]
    max_tokens: usize,
    /// Most tokens of the conversation, for which memory is taken [default: the model's context]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    context: Option<u32>,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let answers = args.generation.options(args.max_tokens)?;
    let (engine, _) = args.generation.load()?;
    let mut options = ChatOptions::default()
        .template(args.prompt_template.clone())
        .answers(answers);
    if let Some(system) = &args.system_prompt {
        options = options.system(system);
    }
    if let Some(context) = args.context {
        options = options.context(context as usize);
    }
    let mut chat = engine.chat(options)?;
    tell(&engine, chat.template(), false)?;
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
        let mut stdout = io::stdout().lock();
        let mut answer = chat.say(&line)?;
        warnings::of_marks(answer.altered_by_marks())?;
        let whole = write(&mut answer, &mut stdout)?;
        let full = answer.generated().stop == Some(StopReason::ContextFull);
        writeln!(stdout).context("standard output")?;
        // At a terminal Ctrl-C ends the answer and not the conversation.
        let goes_on = whole || io::stdin().is_terminal() && interrupt::take_ctrl_c();
        if !goes_on {
            return Ok(interrupt::code());
        }
        if full {
            eprintln!(
                "the conversation fills the context of {} tokens; start a new one",
                chat.capacity()
            );
            return Ok(exit::FAILURE);
        }
        prompt();
    }
    Ok(0)
}
