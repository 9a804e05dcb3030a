//! `bitnet chat`: a conversation, at a terminal or through a pipe.

mod page;
mod said;
mod source;
mod terminal;

use std::io::{self, IsTerminal};

use anyhow::{Result, bail};
use bitnet_engine::{Chat, ChatOptions, Engine, Generated, OnFull, StopReason, TemplateChoice};
use bitnet_process::{Watch, note};

use crate::generation::{GenerationArgs, tell};
use crate::{environment, exit, messages, warnings};
use page::Style;
use said::{COMMANDS, Command, Said};
use source::Source;
use terminal::Input;

/// The code of a program that Ctrl-C ended.
const BY_CTRL_C: u8 = 130;

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
    /// What to do when the conversation fills the context
    #[arg(long, default_value = "drop", value_name = "WHAT")]
    on_full: WhenFull,
}

/// What to do when the context is full.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum WhenFull {
    /// The oldest turns are no longer sent to the model
    Drop,
    /// Nothing more is said
    Stop,
}

pub(crate) fn run(args: &Args) -> Result<u8> {
    let answers = args.generation.options(args.max_tokens)?;
    let asked = args.generation.constraint.read()?;
    let (engine, _) = args.generation.load()?;
    let answers = match asked {
        None => answers,
        Some(asked) => answers.constraint(asked.constraint(engine.encoder())?),
    };
    let mut options = ChatOptions::default()
        .template(args.prompt_template.clone())
        .answers(answers)
        .on_full(match args.on_full {
            WhenFull::Drop => OnFull::Drop,
            WhenFull::Stop => OnFull::Stop,
        });
    if let Some(system) = &args.system_prompt {
        options = options.system(system);
    }
    warnings::of_context(args.context, engine.context())?;
    if let Some(context) = args.context {
        options = options.context(context as usize);
    }
    let chat = engine.chat(options)?;
    tell(&engine, chat.template(), false)?;
    let source = Source::open()?;
    if source.is_terminal() {
        note!("/help lists commands; Ctrl-C ends an answer, Ctrl-D leaves");
    }
    Talk {
        engine,
        chat,
        source,
        style: match io::stdout().is_terminal() && environment::styles() {
            true => Style::Faint,
            false => Style::Marked,
        },
        draws: args.generation.sampling.draws(),
    }
    .run()
}

/// A conversation with whoever is at the other end.
struct Talk {
    engine: Engine,
    chat: Chat,
    source: Source,
    style: Style,
    /// Whether an answer is drawn, so that another one may come.
    draws: bool,
}

/// Whether the conversation goes on.
enum Then {
    GoOn,
    Leave(u8),
}

impl Talk {
    /// Goes on until the end; the code to exit with.
    fn run(mut self) -> Result<u8> {
        let mut left_once = false;
        loop {
            let typed = match self.source.next()? {
                Input::End => return Ok(0),
                Input::CtrlC if left_once => return Ok(BY_CTRL_C),
                Input::CtrlC => {
                    note!("(Ctrl-C again, or Ctrl-D, leaves)");
                    left_once = true;
                    continue;
                }
                Input::Text(typed) => typed,
            };
            left_once = false;
            if typed.trim().is_empty() {
                continue;
            }
            match self.act(&typed) {
                Ok(Then::GoOn) => {}
                Ok(Then::Leave(code)) => return Ok(code),
                // A person sees it and does something else; a pipe cannot.
                Err(error) if self.source.is_terminal() && !exit::is_broken_pipe(&error) => {
                    exit::tell(&error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Does what was typed.
    fn act(&mut self, typed: &str) -> Result<Then> {
        let command = match said::read(typed).map_err(anyhow::Error::msg)? {
            Said::Text(text) => return self.answer(Some(&text)),
            Said::Command(command) => command,
        };
        let chat = &mut self.chat;
        match command {
            Command::Help => help(),
            Command::Exit => return Ok(Then::Leave(0)),
            Command::Regenerate => return self.answer(None),
            Command::System(None) => match chat.system() {
                Some(text) => note!("system: {text}"),
                None => note!("the system says nothing; /system TEXT changes that"),
            },
            Command::System(Some(text)) => {
                chat.set_system(Some(text.as_str()).filter(|text| !text.is_empty()));
            }
            Command::Reset => {
                chat.reset();
                note!("the conversation begins anew");
            }
            Command::Undo => match chat.undo() {
                Some(question) => note!("taken back: {question}"),
                None => bail!("there is nothing to take back"),
            },
            Command::Save(path) => {
                let said = chat.messages();
                messages::save(&path, &said)?;
                note!("{} messages saved to {}", said.len(), path.display());
            }
            Command::Load(path) => {
                let said = messages::load(&path)?;
                note!("{} messages loaded from {}", said.len(), path.display());
                chat.set_messages(said);
            }
            Command::Template(None) => match chat.template().evidence() {
                Some(evidence) => note!("template: {} ({evidence})", chat.template()),
                None => note!("template: {}", chat.template()),
            },
            Command::Template(Some(named)) => {
                let choice = TemplateChoice::of_argument(&named).map_err(anyhow::Error::msg)?;
                chat.set_template(&choice)?;
                tell(&self.engine, chat.template(), true)?;
                note!("template: {}", chat.template());
            }
            Command::Stats => self.stats(),
        }
        Ok(Then::GoOn)
    }

    /// Says a text and shows the answer; without a text, answers the last one again.
    fn answer(&mut self, text: Option<&str>) -> Result<Then> {
        let dropped = self.chat.dropped();
        let answer = match text {
            Some(text) => Some(self.chat.say(text)?),
            None => self.chat.regenerate()?,
        };
        let Some(mut answer) = answer else {
            bail!("there is no question to answer again");
        };
        if text.is_none() && !self.draws {
            note!("note: without --temperature the answer to the same text is the same");
        }
        warnings::of_marks(answer.altered_by_marks())?;
        let dropped = say_dropped(dropped, answer.dropped());
        let watch = match self.source.is_terminal() {
            true => Watch::begin_patiently(),
            false => Watch::begin(),
        };
        let written = page::write(&mut answer, self.style, &watch, &mut io::stdout().lock());
        say_dropped(dropped, answer.dropped());
        let full = answer.generated().stop == Some(StopReason::ContextFull);
        written?;
        if let Some(code) = watch.code()
            && !(self.source.is_terminal() && watch.is_ctrl_c())
        {
            return Ok(Then::Leave(code));
        }
        if full {
            return self.full();
        }
        Ok(Then::GoOn)
    }

    /// Says that there was no room for all of an answer.
    fn full(&self) -> Result<Then> {
        let context = self.chat.capacity();
        match (self.chat.on_full(), self.source.is_terminal()) {
            (OnFull::Drop, _) => note!(
                "the answer is cut short: with its question it fills the context of {context} tokens"
            ),
            (OnFull::Stop, true) => note!(
                "the conversation fills the context of {context} tokens; /undo takes the last turns back, /reset begins a new one, /save keeps it"
            ),
            (OnFull::Stop, false) => bail!(
                "the conversation fills the context of {context} tokens; start a new one, or leave --on-full stop out"
            ),
        }
        Ok(Then::GoOn)
    }

    fn stats(&self) {
        let chat = &self.chat;
        note!("template: {}", chat.template());
        note!("device: {}", self.engine.model().device());
        let turns = chat.messages().len();
        match chat.dropped() {
            0 => note!("turns: {turns}"),
            dropped => note!("turns: {turns}, the oldest {dropped} no longer sent"),
        }
        let (len, capacity) = (chat.len(), chat.capacity());
        note!("context: {len} of {capacity} tokens");
        if let Some(answer) = chat.answer() {
            note!("last answer: {}", speed(answer));
        }
    }
}

/// Says how many turns are sent no longer, beyond `before`; how many are dropped now.
fn say_dropped(before: usize, now: usize) -> usize {
    if now > before {
        let more = now - before;
        note!("the context is full: the {more} oldest turns are no longer sent to the model");
    }
    now
}

fn speed(answer: &Generated) -> String {
    let tokens = answer.tokens.len();
    let first = answer.prefill.as_secs_f64() * 1e3;
    // The first token comes out of the prompt's pass.
    let rate = tokens.saturating_sub(1) as f64 / answer.decode.as_secs_f64().max(1e-9);
    format!("{tokens} tokens, the first after {first:.0} ms, then {rate:.1} tokens/s")
}

fn help() {
    for row in &COMMANDS {
        let shown = format!("{} {}", row.name, row.argument);
        note!("  {shown:<22}{}", row.does);
    }
    note!("  //TEXT                Say /TEXT to the model");
    note!("A line that ends in \\ goes on in the next one. Ctrl-C ends an answer, Ctrl-D leaves.");
}
