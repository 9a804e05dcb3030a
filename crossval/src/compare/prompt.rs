//! What both sides are asked: token ids, and where they come from.

use std::path::Path;
use std::sync::Arc;

use bitnet_engine::chat_templates::Segment;
use bitnet_engine::gguf::Gguf;
use bitnet_engine::tokenizers::discovery::{TokenizerDiscovery, TokenizerNotFound};
use bitnet_engine::tokenizers::{Error as TokenizerError, TokenizerAuthority};
use bitnet_engine::{Encoder, Template, TemplateChoice, check_vocabulary, metadata};
use bitnet_lane_protocol::message::TokenizeRequest;

use crate::digest;

/// A prompt as tokens.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// The ids; at least one.
    pub tokens: Vec<u32>,
    /// The text that they were made of; `None` when ids were given by hand.
    pub text: Option<PromptText>,
    /// Which tokenizer made them.
    pub authority: TokenizerAuthority,
    /// What is doubtful about the model's metadata, the tokenizer and the template, in words.
    pub doubts: Vec<String>,
}

/// A text and how it was encoded.
#[derive(Debug, Clone)]
pub struct PromptText {
    /// After its template.
    pub text: String,
    /// Its parts: text, and the control tokens that the template wrote.
    pub segments: Vec<Segment>,
    /// The template.
    pub template: Template,
    /// Whether the token that begins a text went before it.
    pub bos: bool,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// The model file is not sound.
    #[error(
        "cannot read the model: {0}\n\n\
         Solution: bring a whole one with cargo xtask fetch-models or cargo xtask download-model"
    )]
    Model(#[from] bitnet_engine::gguf::Error),
    /// No tokenizer anywhere.
    #[error("{0}\n\nA model without a tokenizer can be compared by token ids: --tokens 1,2,3")]
    NoTokenizer(#[from] TokenizerNotFound),
    /// The tokenizer is broken.
    #[error("cannot read the tokenizer: {0}")]
    Tokenizer(#[from] TokenizerError),
    /// It was made for another model.
    #[error("{0}; give the model's own with --tokenizer")]
    Vocabulary(#[from] Box<bitnet_engine::Error>),
    /// The template cannot be used, or refuses the prompt.
    #[error("{0}")]
    Template(#[source] Box<bitnet_engine::Error>),
    /// Its file cannot be hashed.
    #[error("cannot read the tokenizer: {0}")]
    Hash(#[from] std::io::Error),
    /// An empty prompt.
    #[error("the prompt has no tokens; give at least one")]
    Empty,
}

impl Prompt {
    /// Ids given by hand, for `model`.
    ///
    /// # Errors
    /// There are none, or the model cannot be read.
    pub fn of_ids(model: &Path, tokens: Vec<u32>) -> Result<Self, PromptError> {
        if tokens.is_empty() {
            return Err(PromptError::Empty);
        }
        let authority = TokenizerAuthority {
            source: "token_ids".to_owned(),
            path: "--tokens".to_owned(),
            file_hash: None,
            config_hash: digest::of_bytes(ids(&tokens).as_bytes()),
            token_count: tokens.len(),
        };
        Ok(Self {
            tokens,
            text: None,
            authority,
            doubts: metadata::doubts(&Gguf::open(model)?),
        })
    }

    /// Encodes `prompt` for `model` with the tokenizer named, or the one that discovery finds.
    ///
    /// # Errors
    /// There is no tokenizer, or the text has no tokens.
    pub fn of_text(
        model: &Path,
        tokenizer: Option<&Path>,
        choice: TemplateChoice,
        system: Option<&str>,
        prompt: &str,
    ) -> Result<Self, PromptError> {
        let gguf = Arc::new(Gguf::open(model)?);
        let mut doubts = metadata::doubts(&gguf);
        let source = TokenizerDiscovery::new(model).discover(tokenizer, &gguf)?;
        let tokenizer = Arc::new(source.load(&gguf)?);
        check_vocabulary(&tokenizer, vocabulary(&gguf)).map_err(Box::new)?;
        let encoder = Encoder::new(Arc::clone(&tokenizer), gguf, Some(model.to_owned()));
        let mut prompt = bitnet_engine::Prompt::from(prompt).template(choice);
        if let Some(system) = system {
            prompt = prompt.system(system);
        }
        let encoded = match encoder.encode(prompt) {
            Err(bitnet_engine::Error::EmptyPrompt) => return Err(PromptError::Empty),
            encoded => encoded.map_err(|error| PromptError::Template(Box::new(error)))?,
        };
        let begins = |token: &str| {
            let first = encoded
                .rendered
                .as_ref()
                .and_then(|text| text.segments.first());
            matches!(first, Some(Segment::Control(first)) if first == token)
        };
        let bos = tokenizer.bos().filter(|_| tokenizer.add_bos());
        let bos_text = bos.and_then(|bos| tokenizer.token_text(bos));
        let bos = bos.is_some() && !bos_text.is_some_and(begins);
        let template = encoded.template.source().unwrap_or_default();
        let foreign = tokenizer.template_warnings(template);
        let of_tokenizer = tokenizer.warnings().iter().chain(&foreign);
        doubts.extend(of_tokenizer.map(ToString::to_string));
        let authority = TokenizerAuthority::of(&tokenizer, &source, model, encoded.tokens.len())?;
        Ok(Self {
            text: encoded.rendered.map(|rendered| PromptText {
                text: rendered.text,
                segments: rendered.segments,
                template: encoded.template,
                bos,
            }),
            tokens: encoded.tokens,
            authority,
            doubts,
        })
    }

    /// The prompt for people: its text, or its ids.
    pub fn shown(&self) -> String {
        self.text
            .as_ref()
            .map_or_else(|| ids(&self.tokens), |text| text.text.clone())
    }
}

impl PromptText {
    /// The same question to a reference's tokenizer, a part of the text at a time: their tokens
    /// stand one behind the other.
    pub fn requests(&self) -> impl Iterator<Item = TokenizeRequest> {
        let bos = std::iter::once(self.bos).chain(std::iter::repeat(false));
        self.segments.iter().zip(bos).map(|(segment, bos)| {
            let (text, control) = match segment {
                Segment::Text(text) => (text, false),
                Segment::Control(token) => (token, true),
            };
            TokenizeRequest {
                text: text.clone(),
                add_special: bos,
                parse_special: control,
            }
        })
    }
}

/// Tokens of a model's vocabulary: the rows of its embedding.
pub(crate) fn vocabulary(gguf: &Gguf) -> usize {
    let embedding = gguf.tensor("token_embd.weight");
    let rows = embedding.and_then(|table| table.shape.get(1).copied());
    rows.and_then(|rows| usize::try_from(rows).ok())
        .unwrap_or(0)
}

/// Ids as a list, as `--tokens` takes them.
pub fn ids(tokens: &[u32]) -> String {
    tokens
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",")
}
