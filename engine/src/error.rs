//! What can go wrong between a file and its text.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bitnet_gguf::{Shown, TensorType};
use bitnet_kernels::{BackendError, Format};
use bitnet_tokenizers::discovery::TokenizerNotFound;

use crate::architecture::Architecture;
use crate::constraint::GrammarError;

/// Why a model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model's file cannot be read, or is no sound GGUF.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: bitnet_gguf::Error,
    },
    /// The model's file changed while it was in use.
    #[error(transparent)]
    Changed(bitnet_gguf::Error),
    /// What the model's file says about its template is of the wrong type.
    #[error(transparent)]
    Metadata(#[from] bitnet_gguf::Error),
    /// The model has no tokenizer inside, and there is none beside it.
    #[error(transparent)]
    TokenizerNotFound(#[from] TokenizerNotFound),
    /// A tokenizer was found and cannot be used.
    #[error("tokenizer {}", path.display())]
    Tokenizer {
        /// The file that it is in.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<bitnet_tokenizers::Error>,
    },
    /// The tokenizer was made for another model.
    #[error(
        "the tokenizer has {tokenizer} tokens, the model {model}: they were not made for each other"
    )]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Tokens of the model.
        model: usize,
    },
    /// A folder of what was read cannot be used.
    #[error("{}", path.display())]
    Store {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The text cannot be turned into tokens.
    #[error("the prompt cannot be turned into tokens")]
    Encode(#[source] Box<bitnet_tokenizers::Error>),
    /// The model has no chat template, and a conversation needs one.
    #[error(transparent)]
    NoTemplate(bitnet_chat_templates::NotFound),
    /// A grammar cannot be used.
    #[error("the grammar cannot be used: {0}")]
    Grammar(GrammarError),
    /// What a tool takes cannot be enforced: what is wrong with its schema.
    #[error("the parameters of tool {number}: {problem}")]
    Tool {
        /// Counted from 0.
        number: usize,
        /// In words.
        problem: GrammarError,
    },
    /// A grammar became too much to follow on the way.
    #[error("the answer cannot follow its grammar any further: {0}")]
    Constraint(String),
    /// The chat template cannot be compiled, or refuses a conversation; in its own words where it
    /// has any.
    #[error(transparent)]
    Template(bitnet_chat_templates::Error),
    /// The chat template writes a part of the conversation nowhere.
    #[error("the chat template has no place for `{part}`: the model would not see it")]
    LeftOut {
        /// Where it stands, such as `tools` or `messages[1].content`, messages counted from 0.
        part: String,
    },
    /// A file beside the model that may hold its chat template cannot be read.
    #[error("{}", path.display())]
    TemplateFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Without a template only texts can be continued.
    #[error("message {message} has no text as its content, and there is no template to write it")]
    NoText {
        /// Counted from 1.
        message: usize,
    },
    /// A setting of the sampler is out of its range.
    #[error("{0}")]
    Sampling(String),
    /// The file is sound, but this engine cannot run what it holds.
    #[error("this model cannot run here:{}", lines(problems))]
    Incompatible {
        /// Everything that stands in the way.
        problems: Vec<Problem>,
    },
    /// A GPU was asked for, and this program was built without the feature `gpu`.
    #[error("this program was built without GPU support")]
    NoGpuSupport,
    /// The operation before which a GPU was to hand over to the CPU is not in the program.
    #[error("the GPU cannot hand over to the CPU at `{operation}`: {problem}")]
    Split {
        /// As given.
        operation: String,
        /// Why it names none, and what would.
        problem: String,
    },
    /// What was to be read in one pass does not belong together.
    #[error("these sequences cannot be read in one pass: {0}")]
    Batch(String),
    /// More tokens than the sequence has room for.
    #[error("{need} tokens do not fit the context of {have}; shorten the prompt")]
    ContextFull {
        /// Positions that would be needed.
        need: usize,
        /// Positions there are.
        have: usize,
    },
    /// A token that the model does not have.
    #[error("token id {id} is outside the vocabulary of {vocabulary}")]
    Token {
        /// The token.
        id: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },
    /// A pass over several sequences failed, and with it each of them.
    #[error("a pass over several sequences failed")]
    Pass(#[source] Arc<Error>),
    /// There is nothing to predict from.
    #[error("the prompt has no tokens; give at least one")]
    EmptyPrompt,
    /// A logit of the model is not a finite number: its weights are damaged.
    #[error(
        "the model's logit of token {id} is not a finite number: a weight, a scale or a gain of the file is damaged"
    )]
    DamagedLogits {
        /// The first such token.
        id: u32,
    },
    /// The stages of the sampler left nothing to choose from.
    #[error("the sampler left no token to choose from")]
    NoCandidate,
    /// The device failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// One thing that stops a file from running.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Metadata that is absent, of another type, or out of range; in words.
    Metadata(String),
    /// An architecture that has no graph here.
    Architecture(String),
    /// A value that the graph cannot use.
    Shape(String),
    /// A tensor that the architecture needs.
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor in an encoding that is not computed with.
    TensorType {
        /// Its name, or that of the first of them.
        name: String,
        /// How many more are in this encoding.
        more: usize,
        /// ggml's id of the type.
        id: u32,
        /// The names that the id goes by.
        type_name: String,
    },
    /// A tensor of another shape than the metadata asks for.
    TensorShape {
        /// Its name.
        name: String,
        /// Dimensions in the file, fastest first.
        found: Vec<u64>,
        /// Dimensions needed, fastest first.
        wanted: Vec<u64>,
    },
    /// Rows that do not hold whole blocks.
    PartialBlock {
        /// The tensor's name.
        name: String,
        /// Its dimensions, fastest first.
        shape: Vec<u64>,
        /// Its format.
        format: Format,
    },
    /// A vector in a format that keeps a scale of the tensor, which vectors are read without.
    VectorType {
        /// The tensor's name.
        name: String,
        /// Its format.
        format: Format,
    },
    /// A number that nothing can be multiplied with or divided by.
    Value {
        /// The tensor that has it.
        name: String,
        /// The number.
        value: String,
    },
    /// A tensor whose effect would be lost.
    UnusedTensor {
        /// Its name, or that of the first of them.
        name: String,
        /// How many more there are, each the same part of another layer.
        more: usize,
    },
    /// Tensors of a part that is no model of text.
    Part {
        /// What the part is.
        part: &'static str,
        /// How many tensors it has.
        tensors: usize,
        /// The name of the first.
        first: String,
    },
    /// There are so many problems that these are left out.
    More(usize),
}

impl Problem {
    /// How many problems of a file are said.
    pub(crate) const FEW: usize = 50;

    /// The first few problems, and how many there are beyond.
    pub(crate) fn few(mut problems: Vec<Problem>) -> Vec<Problem> {
        let more = problems.len().saturating_sub(Problem::FEW);
        problems.truncate(Problem::FEW);
        problems.extend((more > 0).then_some(Problem::More(more)));
        problems
    }
}

/// The beginning of a sentence on what a tensor, and as many more, have.
fn having(name: &str, more: usize) -> String {
    match more {
        0 => format!("tensor `{}` has", Shown(name)),
        more => format!("tensors `{}` and {more} more have", Shown(name)),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Metadata(text) | Problem::Shape(text) => f.write_str(text),
            Problem::Architecture(name) => {
                let known: Vec<_> = Architecture::names().collect();
                let known = known.join(", ");
                write!(
                    f,
                    "architecture `{}` is not supported; supported are {known}",
                    Shown(name)
                )
            }
            Problem::MissingTensor { name } => write!(f, "tensor `{}` is missing", Shown(name)),
            Problem::TensorType {
                name,
                more,
                id,
                type_name,
            } => {
                let known = Format::ALL.map(Format::name).join(", ");
                let origin = TensorType::origin(*id).map(|origin| format!(", {origin}"));
                let origin = origin.unwrap_or_default();
                write!(
                    f,
                    "{} type {id} ({type_name}{origin}); supported are {known}",
                    having(name, *more)
                )
            }
            Problem::TensorShape {
                name,
                found,
                wanted,
            } => {
                write!(
                    f,
                    "tensor `{}` has shape {found:?}, the metadata asks for {wanted:?}",
                    Shown(name)
                )
            }
            Problem::PartialBlock {
                name,
                shape,
                format,
            } => write!(
                f,
                "tensor `{}` of shape {shape:?} and type {format} has rows that are no multiple of {}",
                Shown(name),
                format.block_len()
            ),
            Problem::UnusedTensor { name, more } => {
                let whose = if *more == 0 { "its" } else { "their" };
                write!(
                    f,
                    "{} no place in this architecture; {whose} effect would be lost",
                    having(name, *more)
                )
            }
            Problem::VectorType { name, format } => write!(
                f,
                "tensor `{}` is a vector of type {format}, whose scale would be lost",
                Shown(name)
            ),
            Problem::Value { name, value } => write!(
                f,
                "tensor `{}` holds {value}, which no scale or factor can be; the file is damaged",
                Shown(name)
            ),
            Problem::Part {
                part,
                tensors,
                first,
            } => write!(
                f,
                "{part}: {tensors} tensors (`{}` is the first), which this engine does not run",
                Shown(first)
            ),
            Problem::More(more) => write!(f, "and {more} more problems"),
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(|problem| format!("\n  - {problem}"))
        .collect()
}

impl From<GrammarError> for Error {
    fn from(error: GrammarError) -> Error {
        Error::Grammar(error)
    }
}
