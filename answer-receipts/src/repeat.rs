//! [`repeat`]: an answer made again, and where it differs.

use std::fmt;

use bitnet_engine::scheduler::{Event, Request, Scheduler, SchedulerOptions};
use bitnet_engine::{EncodedPrompt, Engine, Error, Generated, TemplateChoice};
use bitnet_files::Sha256Hex;
use serde::Serialize;

use crate::receipt::{Answer, AnswerReceipt, CANCELLED, TemplateRecord};

/// What came of making an answer again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repeated {
    /// Steps whose logits are the same to the bit, from the first on.
    pub steps: usize,
    /// Where it differs. The receipt does not hold if there is any.
    pub differences: Vec<Difference>,
    /// What else is to be known: of what could not be compared, and of what may differ without
    /// changing the answer.
    pub notes: Vec<String>,
}

impl Repeated {
    /// Whether the receipt holds.
    pub fn holds(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Where a receipt and what is computed here differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Difference {
    /// It contradicts itself: it was cut or edited.
    Contradiction {
        /// In words.
        problem: String,
    },
    /// It is of another model.
    Model {
        /// By the receipt.
        recorded: Sha256Hex,
        /// Of the model here.
        here: Sha256Hex,
    },
    /// It was made with another tokenizer; nothing is the one inside the model.
    Tokenizer {
        /// By the receipt.
        recorded: Option<Sha256Hex>,
        /// Of the tokenizer here.
        here: Option<Sha256Hex>,
    },
    /// Its template is another one here; nothing is none.
    Template {
        /// By the receipt.
        recorded: Option<Sha256Hex>,
        /// Of the template here.
        here: Option<Sha256Hex>,
    },
    /// Answers end at other tokens here.
    Ends {
        /// By the receipt.
        recorded: Vec<u32>,
        /// By tokenizer and template.
        here: Vec<u32>,
    },
    /// It allows more tokens than the model has positions.
    Context {
        /// By the receipt.
        recorded: usize,
        /// Of the model.
        here: usize,
    },
    /// The first step whose logits differ, from 0 on.
    Logits {
        /// The step.
        step: usize,
    },
    /// The first token of the answer that differs; nothing where it has ended.
    Token {
        /// Its place in the answer, from 0 on.
        step: usize,
        /// By the receipt.
        recorded: Option<u32>,
        /// As chosen here.
        here: Option<u32>,
    },
    /// The tokens are the same, and their text is not.
    Text {
        /// As it is here.
        here: String,
    },
    /// It ended for another reason.
    Stop {
        /// By the receipt.
        recorded: String,
        /// As it is here.
        here: String,
    },
}

/// Why an answer could not be made again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepeatError {
    /// It was made on another device.
    #[error(
        "it was made on `{0}`; receipts of what a CPU computes can be verified, as that alone is the same on every machine"
    )]
    RecordedDevice(String),
    /// This device is no CPU.
    #[error("an answer of a CPU cannot be repeated on {0}")]
    Device(String),
    /// It was held to a grammar of a kind that is not known, or not written as one.
    #[error("its answer was held to a grammar of the kind `{0}`, which cannot be read")]
    Constraint(String),
    /// The engine refuses it, or fails.
    #[error("it cannot be repeated")]
    Engine(#[from] Error),
    /// `stop` said so.
    #[error("interrupted")]
    Interrupted,
}

/// Makes the answer of a receipt again, and says where it differs. Its template is compared with
/// the one that `template` means for this model, or else with the one that its name means here,
/// unless it was in a file. `stop` is asked between passes.
///
/// # Errors
/// As [`RepeatError`] says.
pub fn repeat(
    receipt: &AnswerReceipt,
    engine: &Engine,
    template: Option<&TemplateChoice>,
    stop: impl Fn() -> bool,
) -> Result<Repeated, RepeatError> {
    if receipt.device != "cpu" {
        return Err(RepeatError::RecordedDevice(receipt.device.clone()));
    }
    let identity = engine.identity()?;
    if let Some(device) = &identity.device {
        return Err(RepeatError::Device(device.clone()));
    }
    let mut found = Repeated::default();
    let contradictions = receipt.contradictions().into_iter();
    let contradictions = contradictions.map(|problem| Difference::Contradiction { problem });
    found.differences.extend(contradictions);
    let (recorded, here) = (receipt.model.sha256, engine.sha256());
    if recorded != here {
        found.differences.push(Difference::Model { recorded, here });
        // Nothing of it is comparable.
        return Ok(found);
    }
    let (recorded, here) = (receipt.model.tokenizer, identity.tokenizer);
    if recorded != here {
        found
            .differences
            .push(Difference::Tokenizer { recorded, here });
    }
    if receipt.program.numerics != identity.numerics {
        let version = &receipt.program.version;
        found.notes.push(format!(
            "it was made by version {version:?} with other numerics than this program's"
        ));
    }
    if receipt.model.graph != identity.graph {
        found.notes.push(
            "it was made with another plan of the model's forward pass than this program's"
                .to_owned(),
        );
    }
    if receipt.context > engine.context() {
        found.differences.push(Difference::Context {
            recorded: receipt.context,
            here: engine.context(),
        });
    }
    let mut prompt = engine.encode(&receipt.prompt[..])?;
    compare_template(receipt, engine, template, &mut found)?;
    prompt.ends.clone_from(&receipt.ends);
    if let Some(again) = again(receipt, engine, &prompt, stop)? {
        compare_answer(receipt, &again, &mut found);
    }
    Ok(found)
}

fn compare_template(
    receipt: &AnswerReceipt,
    engine: &Engine,
    named: Option<&TemplateChoice>,
    found: &mut Repeated,
) -> Result<(), Error> {
    let TemplateRecord {
        name,
        origin,
        sha256: recorded,
    } = &receipt.template;
    let meant = match &origin[..] {
        TemplateRecord::FILE => None,
        TemplateRecord::NAMED => name.parse().ok(),
        _ => Some(TemplateChoice::Auto),
    };
    let Some(choice) = named.or(meant.as_ref()) else {
        found.notes.push(format!(
            "its template `{}` ({}) was not compared; name it with --prompt-template",
            name.escape_debug(),
            origin.escape_debug()
        ));
        return Ok(());
    };
    let (source, ends) = match engine.template(choice) {
        // The prompt stands as it is then, as with `raw`.
        Err(Error::NoTemplate(_)) => (None, engine.encode(&receipt.prompt[..])?.ends),
        template => {
            let template = template?;
            let ends = engine.encoder().ends(&template);
            (template.source().map(str::to_owned), ends)
        }
    };
    let here = source.map(|text| Sha256Hex::of(text.as_bytes()));
    if *recorded != here {
        let recorded = *recorded;
        found
            .differences
            .push(Difference::Template { recorded, here });
    } else if receipt.ends != ends {
        found.differences.push(Difference::Ends {
            recorded: receipt.ends.clone(),
            here: ends,
        });
    }
    Ok(())
}

/// An answer, made again.
struct Again {
    generated: Generated,
    /// Its text when it had as many tokens as the receipt's.
    shown: String,
}

/// The answer, made again; nothing of one that was cut short before its first step.
fn again(
    receipt: &AnswerReceipt,
    engine: &Engine,
    prompt: &EncodedPrompt,
    stop: impl Fn() -> bool,
) -> Result<Option<Again>, RepeatError> {
    let options = SchedulerOptions::default()
        .parallel(1)
        .context(receipt.context)
        .budget(engine.model().batch());
    let mut scheduler = Scheduler::new(engine, options);
    let mut options = receipt.parameters.options();
    if let Some(record) = &receipt.parameters.constraint {
        let unknown = || RepeatError::Constraint(record.kind.clone());
        let recipe = record.recipe().ok_or_else(unknown)?;
        options = options.constraint(engine.encoder().constraint_of(&recipe)?);
    }
    scheduler.add(Request::new(prompt, options))?;
    let mut came = None;
    let mut shown = String::new();
    let mut tokens = 0;
    while !scheduler.is_idle() {
        if stop() {
            return Err(RepeatError::Interrupted);
        }
        scheduler.pass(|_, event| match event {
            Event::Piece { piece, .. } if tokens < receipt.answer.tokens.len() => {
                tokens += usize::from(piece.token.is_some());
                shown.push_str(&piece.text);
            }
            Event::Ended(generated) => came = Some(Ok(generated)),
            Event::Failed(error) => came = Some(Err(error)),
            _ => {}
        });
    }
    let generated: Option<Generated> = came.transpose()?;
    Ok(generated.map(|generated| Again { generated, shown }))
}

fn compare_answer(receipt: &AnswerReceipt, again: &Again, found: &mut Repeated) {
    let recorded = &receipt.answer;
    let here = &again.generated;
    let cut = recorded.stop == CANCELLED;
    // What was cut short is the beginning of what is made here.
    let end = |len: usize, of: usize| if cut { len.min(of) } else { of };
    let logits = &here.logits[..end(recorded.logits.len(), here.logits.len())];
    let tokens = &here.tokens[..end(recorded.tokens.len(), here.tokens.len())];
    let same = recorded.logits.iter().zip(logits);
    found.steps = same.take_while(|(recorded, here)| recorded == here).count();
    if found.steps < recorded.logits.len().max(logits.len()) {
        let step = found.steps;
        found.differences.push(Difference::Logits { step });
    }
    let same = recorded.tokens.iter().zip(tokens);
    let step = same.take_while(|(recorded, here)| recorded == here).count();
    if step < recorded.tokens.len().max(tokens.len()) {
        found.differences.push(Difference::Token {
            step,
            recorded: recorded.tokens.get(step).copied(),
            here: tokens.get(step).copied(),
        });
        return;
    }
    let Answer { stop, .. } = Answer::of(here);
    // An answer that had its last token was ended by it, unless by a token that is none of it.
    let has_all = recorded.tokens.len() == here.tokens.len() && here.end.is_none();
    if (!cut || has_all) && recorded.stop != stop {
        found.differences.push(Difference::Stop {
            recorded: recorded.stop.clone(),
            here: stop,
        });
    }
    let text = if cut { &again.shown } else { &here.text };
    if recorded.text != *text {
        found
            .differences
            .push(Difference::Text { here: text.clone() });
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or = |what: &Option<Sha256Hex>, none: &str| match what {
            Some(hash) => hash.to_string(),
            None => none.to_owned(),
        };
        match self {
            Difference::Contradiction { problem } => {
                write!(f, "the receipt contradicts itself: {problem}")
            }
            Difference::Model { recorded, here } => write!(
                f,
                "another model: the receipt's has SHA-256 {recorded}, this one {here}"
            ),
            Difference::Tokenizer { recorded, here } => {
                let inside = "the one inside the model";
                let (recorded, here) = (or(recorded, inside), or(here, inside));
                write!(
                    f,
                    "another tokenizer: the receipt's is {recorded}, here it is {here}"
                )
            }
            Difference::Template { recorded, here } => {
                let (recorded, here) = (or(recorded, "none"), or(here, "none"));
                write!(
                    f,
                    "another template: the receipt's is {recorded}, here it is {here}"
                )
            }
            Difference::Ends { recorded, here } => write!(
                f,
                "answers end at other tokens: by the receipt at {recorded:?}, here at {here:?}"
            ),
            Difference::Context { recorded, here } => write!(
                f,
                "the receipt says that prompt and answer may have {recorded} tokens; the model has {here} positions"
            ),
            Difference::Logits { step } => {
                write!(f, "step {step} is the first whose logits differ")
            }
            Difference::Token {
                step,
                recorded,
                here,
            } => {
                let words = |token: &Option<u32>| match token {
                    Some(id) => id.to_string(),
                    None => "none".to_owned(),
                };
                let (recorded, here) = (words(recorded), words(here));
                write!(
                    f,
                    "token {step} of the answer is the first that differs: {recorded} in the receipt, {here} here"
                )
            }
            Difference::Text { here } => {
                write!(
                    f,
                    "the text of the same tokens is another one here: {here:?}"
                )
            }
            Difference::Stop { recorded, here } => write!(
                f,
                "the answer ended for another reason: {recorded:?} in the receipt, {here:?} here"
            ),
        }
    }
}
