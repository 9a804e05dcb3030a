//! [`AnswerReceipt`]: the JSON of a receipt.

use std::collections::BTreeMap;

use bitnet_engine::{
    CacheType, Constraint, GenerateOptions, Generated, Grammar, Mark, Recipe, Sampling, StopReason,
    Thought,
};
use bitnet_files::Sha256Hex;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};

/// What `kind` says in every answer receipt.
pub(crate) const KIND: &str = "answer";
/// The version of what stands here.
pub(crate) const SCHEMA_VERSION: u64 = 1;

/// What an answer was made of: all that is needed to make it again, to the bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerReceipt {
    /// `answer`.
    pub kind: String,
    /// 1.
    pub schema_version: u64,
    /// The program that made it.
    pub program: Program,
    /// The model.
    pub model: ModelRecord,
    /// Where it ran: `cpu`.
    pub device: String,
    /// Most tokens of prompt and answer together.
    pub context: usize,
    /// How the prompt was put to the model.
    pub template: TemplateRecord,
    /// The prompt's tokens.
    pub prompt: Vec<u32>,
    /// Tokens at which an answer ends.
    pub ends: Vec<u32>,
    /// How tokens were chosen.
    pub parameters: Parameters,
    /// What came of it.
    pub answer: Answer,
}

/// The program that made a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its version.
    pub version: String,
    /// That of its numerics ([`Identity::numerics`](bitnet_engine::Identity::numerics)).
    pub numerics: Sha256Hex,
}

/// The model of a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// What it was called: for people, and to find its file again.
    pub name: String,
    /// SHA-256 of its file; of all of them one behind another, where there are several.
    pub sha256: Sha256Hex,
    /// Bytes of its file, or of all of them.
    pub bytes: u64,
    /// SHA-256 of its forward pass ([`Identity::graph`](bitnet_engine::Identity::graph)).
    pub graph: Sha256Hex,
    /// How keys and values were kept.
    pub cache_type: CacheKind,
    /// SHA-256 of the tokenizer's file, where it has one of its own.
    pub tokenizer: Option<Sha256Hex>,
}

/// [`CacheType`] as a receipt has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// IEEE binary16.
    F16,
    /// IEEE binary32.
    F32,
}

impl From<CacheType> for CacheKind {
    fn from(of: CacheType) -> CacheKind {
        match of {
            CacheType::F16 => CacheKind::F16,
            CacheType::F32 => CacheKind::F32,
        }
    }
}

impl From<CacheKind> for CacheType {
    fn from(of: CacheKind) -> CacheType {
        match of {
            CacheKind::F16 => CacheType::F16,
            CacheKind::F32 => CacheType::F32,
        }
    }
}

/// How the prompt was put to the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemplateRecord {
    /// Its name.
    pub name: String,
    /// `named` (one of the program's own), `file` (one that was given), or where it was found.
    pub origin: String,
    /// SHA-256 of its text; nothing where the prompt stands as it is.
    pub sha256: Option<Sha256Hex>,
}

impl TemplateRecord {
    pub(crate) const NAMED: &str = "named";
    pub(crate) const FILE: &str = "file";
}

/// How tokens were chosen, as in [`Sampling`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "`Sampling` and `GenerateOptions` say what they are"
)]
pub struct Parameters {
    pub max_tokens: usize,
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_tokens: usize,
    pub stop: Vec<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub stop_tokens: Vec<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub ignore_ends: bool,
    pub seed: u64,
    #[serde(serialize_with = "shortest")]
    pub temperature: f32,
    pub top_k: usize,
    #[serde(serialize_with = "shortest")]
    pub top_p: f32,
    #[serde(serialize_with = "shortest")]
    pub min_p: f32,
    #[serde(serialize_with = "shortest")]
    pub repeat_penalty: f32,
    #[serde(serialize_with = "shortest")]
    pub presence_penalty: f32,
    #[serde(serialize_with = "shortest")]
    pub frequency_penalty: f32,
    pub logit_bias: BTreeMap<u32, f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<ConstraintRecord>,
}

/// What the answer was held to, as in [`Recipe`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConstraintRecord {
    /// What kind of grammar it was, as [`Grammar::written`] has it.
    pub kind: String,
    /// The grammar's text.
    pub text: String,
    /// The thought before it that was left free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought: Option<ThoughtRecord>,
    /// What the grammar waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<MarkRecord>,
}

/// [`Thought`] as a receipt has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThoughtRecord {
    /// The mark that opens it.
    pub open: String,
    /// The mark that ends it.
    pub close: String,
    /// Whether the prompt had opened it.
    pub opened: bool,
}

/// [`Mark`] as a receipt has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MarkRecord {
    /// Its text.
    pub text: String,
    /// Whether free text might follow what the grammar allowed.
    pub again: bool,
}

impl ConstraintRecord {
    fn of(constraint: &Constraint) -> ConstraintRecord {
        let Recipe {
            grammar,
            thought,
            mark,
        } = constraint.recipe();
        let (kind, text) = grammar.written();
        ConstraintRecord {
            kind: kind.to_owned(),
            text,
            thought: thought.map(|thought| ThoughtRecord {
                open: thought.open,
                close: thought.close,
                opened: thought.opened,
            }),
            mark: mark.map(|mark| MarkRecord {
                text: mark.text,
                again: mark.again,
            }),
        }
    }

    /// To hold an answer to it again; none where there is no such kind of grammar.
    pub(crate) fn recipe(&self) -> Option<Recipe> {
        Some(Recipe {
            grammar: Grammar::of_kind(&self.kind, &self.text)?,
            thought: self.thought.as_ref().map(|thought| Thought {
                open: thought.open.clone(),
                close: thought.close.clone(),
                opened: thought.opened,
            }),
            mark: self.mark.as_ref().map(|mark| Mark {
                text: mark.text.clone(),
                again: mark.again,
            }),
        })
    }
}

/// Whether it asks for nothing. Those that older programs do not know are written down where they
/// do: such a program then says that it cannot read the receipt.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// In as few digits as tell it from its neighbours.
fn shortest<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
    let digits: f64 = value.to_string().parse().map_err(S::Error::custom)?;
    match digits as f32 == *value {
        true => serializer.serialize_f64(digits),
        false => serializer.serialize_f32(*value),
    }
}

impl Parameters {
    pub(crate) fn of(parameters: bitnet_engine::Parameters<'_>) -> Parameters {
        let sampling = parameters.sampling;
        Parameters {
            max_tokens: parameters.max_tokens,
            min_tokens: parameters.min_tokens,
            stop: parameters.stop.to_vec(),
            stop_tokens: parameters.stop_tokens.to_vec(),
            ignore_ends: parameters.ignore_ends,
            seed: sampling.seed,
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repeat_penalty: sampling.repeat_penalty,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            logit_bias: sampling.logit_bias.iter().copied().collect(),
            constraint: parameters.constraint.map(ConstraintRecord::of),
        }
    }

    /// To make the answer again, with the digests of logits; what it is held to is left to be
    /// added.
    pub(crate) fn options(&self) -> GenerateOptions {
        let sampling = Sampling::default()
            .seed(self.seed)
            .temperature(self.temperature)
            .top_k(self.top_k)
            .top_p(self.top_p)
            .min_p(self.min_p)
            .repeat_penalty(self.repeat_penalty)
            .presence_penalty(self.presence_penalty)
            .frequency_penalty(self.frequency_penalty)
            .logit_bias(
                self.logit_bias
                    .iter()
                    .map(|(id, bias)| (*id, *bias))
                    .collect(),
            );
        let options = GenerateOptions::default()
            .max_tokens(self.max_tokens)
            .min_tokens(self.min_tokens)
            .stop_tokens(self.stop_tokens.clone())
            .ignore_ends(self.ignore_ends)
            .sampling(sampling)
            .digests(true);
        self.stop.iter().fold(options, GenerateOptions::stop)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Its tokens; one that ended it is not among them.
    pub tokens: Vec<u32>,
    /// Its text, without the stop text that ended it.
    pub text: String,
    /// Why it ended, by [`StopReason::name`], or `cancelled` where it was cut short from outside.
    pub stop: String,
    /// SHA-256 of the logits that each token was chosen by, as little-endian f32 in the order of
    /// token ids; one more where a token ended it.
    pub logits: Vec<Sha256Hex>,
}

/// `stop` of an answer that was cut short from outside.
pub(crate) const CANCELLED: &str = "cancelled";

impl Answer {
    pub(crate) fn of(generated: &Generated) -> Answer {
        Answer {
            tokens: generated.tokens.clone(),
            text: generated.text.clone(),
            stop: generated
                .stop
                .map_or(CANCELLED, StopReason::name)
                .to_owned(),
            logits: generated.logits.clone(),
        }
    }
}

impl AnswerReceipt {
    /// As JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    /// As JSON, indented, with a line end behind it.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.json())
    }

    /// In what it contradicts itself, in words: it was cut or edited.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let Answer {
            tokens,
            stop,
            logits,
            ..
        } = &self.answer;
        let mut found = Vec::new();
        let ended = usize::from(stop == StopReason::EndOfGeneration.name());
        let wanted = match self.parameters.max_tokens {
            0 => 0,
            _ => tokens.len() + ended,
        };
        if logits.len() != wanted {
            found.push(format!(
                "it has {} digests of logits, and its answer took {wanted} steps",
                logits.len()
            ));
        }
        if tokens.len() > self.parameters.max_tokens {
            found.push(format!(
                "its answer has {} tokens, and may have {}",
                tokens.len(),
                self.parameters.max_tokens
            ));
        }
        found
    }
}
