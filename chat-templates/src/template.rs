//! [`ChatTemplate`]: a template, compiled once and rendered within bounds.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use indexmap::IndexMap;
use minijinja::{Environment, ErrorKind, Value};

use crate::control::unmarked;
use crate::environment::{Raised, environment};
use crate::values::from_json;
use crate::{ControlTokens, Conversation, Error, Segment, clock, continuation, dialect, work};

/// Longest source that is compiled. Real templates have up to 20 KB.
pub const MAX_SOURCE_BYTES: usize = 64 << 10;
/// Stack for compiling and rendering.
const STACK_BYTES: usize = 32 << 20;
/// Time for compiling, and for rendering a conversation without content.
const BASE_TIME: Duration = Duration::from_millis(1500);
/// Input for which rendering gets a second more.
const BYTES_PER_SECOND: u64 = 1 << 20;
/// The name of the template in messages.
const NAME: &str = "chat template";

/// The special tokens of a vocabulary as texts; a template sees those that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// `bos_token`, which begins a text.
    pub bos: Option<String>,
    /// `eos_token`, which ends a text or a turn.
    pub eos: Option<String>,
    /// `unk_token`.
    pub unk: Option<String>,
    /// `sep_token`.
    pub sep: Option<String>,
    /// `pad_token`.
    pub pad: Option<String>,
    /// `cls_token`.
    pub cls: Option<String>,
    /// `mask_token`.
    pub mask: Option<String>,
}

impl Tokens {
    /// These, and those of `others` where there is none here.
    #[must_use]
    pub fn or(self, others: Tokens) -> Tokens {
        Tokens {
            bos: self.bos.or(others.bos),
            eos: self.eos.or(others.eos),
            unk: self.unk.or(others.unk),
            sep: self.sep.or(others.sep),
            pad: self.pad.or(others.pad),
            cls: self.cls.or(others.cls),
            mask: self.mask.or(others.mask),
        }
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("bos_token", &self.bos),
            ("eos_token", &self.eos),
            ("unk_token", &self.unk),
            ("sep_token", &self.sep),
            ("pad_token", &self.pad),
            ("cls_token", &self.cls),
            ("mask_token", &self.mask),
        ]
        .into_iter()
        .filter_map(|(name, token)| Some((name, token.as_deref()?)))
    }
}

/// A conversation in the form of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text that transformers renders.
    pub text: String,
    /// What goes to the model: the same text, with the control tokens of the template apart from
    /// everything else.
    pub segments: Vec<Segment>,
    /// Whether the segments do not add up to the text: the template looks so closely at a text with
    /// control tokens in it (it counts its letters, say) that setting them apart changes what it
    /// writes. The segments count.
    pub altered_by_marks: bool,
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    tokens: Tokens,
    given_up: AtomicBool,
}

impl ChatTemplate {
    /// Compiles a template for a vocabulary with these special tokens.
    ///
    /// # Errors
    /// A source that is blank, too long, nested too deep or not in the language.
    pub fn compile(source: &str, tokens: Tokens) -> Result<ChatTemplate, Error> {
        if source.trim().is_empty() {
            return Err(Error::Empty);
        }
        if source.len() > MAX_SOURCE_BYTES {
            return Err(Error::TooLong {
                bytes: source.len(),
                limit: MAX_SOURCE_BYTES,
            });
        }
        let source = source.to_owned();
        let kept = source.clone();
        let environment = bounded(BASE_TIME, move || {
            let translated = dialect::translate(&source).map_err(Error::Syntax)?;
            let compile = || {
                let mut environment = environment()?;
                environment.add_template_owned(NAME, translated)?;
                Ok(environment)
            };
            compile().map_err(|error: minijinja::Error| Error::Syntax(describe(&error)))
        })?;
        Ok(ChatTemplate {
            source: kept,
            environment,
            tokens,
            given_up: AtomicBool::new(false),
        })
    }

    /// The same template, which sees `tokens` in place of the vocabulary's where they are given.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> ChatTemplate {
        self.tokens = tokens.or(self.tokens);
        self
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Writes a conversation in the form of the template. Control tokens that came with the
    /// conversation stay text.
    ///
    /// # Errors
    /// [`Error::Raised`] with the template's own words where it refuses the conversation; anything
    /// else that fails in it; a limit that it met, after which it may not be used again.
    pub fn render(
        &self,
        conversation: &Conversation,
        control: &ControlTokens,
    ) -> Result<Rendered, Error> {
        let mut plain = conversation.clone();
        plain.messages = conversation.prepared_messages()?;
        continuation::mark(&mut plain)?;
        let text = self.render_text(&plain)?;
        let (marked, any) = control.mark(&plain);
        if !any {
            return Ok(Rendered {
                segments: control.cut(&text),
                text,
                altered_by_marks: false,
            });
        }
        let with_marks = self.render_text(&marked)?;
        Ok(Rendered {
            altered_by_marks: unmarked(&with_marks) != unmarked(&text),
            segments: control.cut(&with_marks),
            text,
        })
    }

    /// The text of a prepared conversation.
    fn render_text(&self, conversation: &Conversation) -> Result<String, Error> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(Error::GivenUp);
        }
        let weight = conversation.weight();
        let fuel = work::fuel_for(weight);
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let now = conversation.now;
        environment.add_function("strftime_now", move |format: &str| {
            clock::strftime(
                &now.unwrap_or_else(|| chrono::Local::now().naive_local()),
                format,
            )
        });
        let names = self.names(conversation);
        let time = BASE_TIME + Duration::from_secs_f64(weight as f64 / BYTES_PER_SECOND as f64);
        let rendered = bounded(time, move || {
            let template = environment.get_template(NAME);
            let rendered = template.and_then(|template| template.render(Value::from_pairs(names)));
            rendered.map_err(|error| from_engine(&error, fuel))
        });
        let rendered = rendered.and_then(|text| continuation::cut(conversation, text));
        if matches!(rendered, Err(Error::TimedOut(_))) {
            self.given_up.store(true, Ordering::Relaxed);
        }
        rendered
    }

    /// All names that the template sees, functions apart.
    fn names(&self, conversation: &Conversation) -> IndexMap<String, Value> {
        let list = |items: &Vec<_>| items.iter().map(from_json).collect::<Vec<_>>();
        let optional = |items: Option<&Vec<_>>| items.map_or(Value::from(()), |l| list(l).into());
        let mut names: IndexMap<String, Value> = IndexMap::new();
        for (name, token) in self.tokens.named() {
            names.insert(name.to_owned(), Value::from(token));
        }
        names.insert("messages".to_owned(), list(&conversation.messages).into());
        names.insert("tools".to_owned(), optional(conversation.tools.as_ref()));
        names.insert(
            "documents".to_owned(),
            optional(conversation.documents.as_ref()),
        );
        let asked = conversation.add_generation_prompt && !conversation.continue_final_message;
        let asked = Value::from(asked);
        names.insert("add_generation_prompt".to_owned(), asked);
        for (name, value) in &conversation.variables {
            names.insert(name.clone(), from_json(value));
        }
        names
    }
}

/// Runs `work` on a thread with a stack of [`STACK_BYTES`], and waits for it as long as `time`.
/// What takes longer is left behind; its fuel ends it soon.
fn bounded<T: Send + 'static>(
    time: Duration,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name(NAME.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || sender.send(work()))
        .map_err(|error| Error::NoThread(error.to_string()))?;
    receiver.recv_timeout(time).unwrap_or_else(|error| {
        Err(match error {
            mpsc::RecvTimeoutError::Timeout => Error::TimedOut(time),
            mpsc::RecvTimeoutError::Disconnected => {
                Error::Failed("the template engine broke off, which is a fault of its own".into())
            }
        })
    })
}

fn from_engine(error: &minijinja::Error, fuel: u64) -> Error {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(Raised(words)) = cause.downcast_ref() {
            return Error::Raised(words.clone());
        }
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => Error::OutOfFuel { fuel },
        _ => Error::Failed(describe(error)),
    }
}

/// The innermost reason, and the line of the template.
fn describe(error: &minijinja::Error) -> String {
    let mut reason = error;
    while let Some(inner) = reason.source().and_then(|source| source.downcast_ref()) {
        reason = inner;
    }
    let kind = reason.kind().to_string();
    let what = match reason.detail() {
        Some(detail) => format!("{kind}: {detail}"),
        None => kind,
    };
    match error.line() {
        Some(line) => format!("{what} (line {line} of the template)"),
        None => what,
    }
}
