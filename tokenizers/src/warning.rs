//! [`Warning`]: what is doubtful about a tokenizer that can be used.

use bitnet_gguf::Shown;

/// What is doubtful about a tokenizer, or about a template beside it. It can be used; what it gives
/// may not be what the model was trained with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// A GGUF file that does not say how text is cut into words.
    #[error(
        "the file has no `tokenizer.ggml.pre`: text is cut into words by the rule `default`, so \
         that ids and counts may differ from the model's own; write the key into the file, or give \
         the model's tokenizer.json"
    )]
    MissingPreTokenizer,
    /// A key of the file that is not known, or not done in full; in words that name it.
    #[error("{0}")]
    Key(String),
    /// Tokens that are spelled alike, so that nothing says which of them a text becomes; llama.cpp
    /// does not open such a file.
    #[error(
        "tokens {first} and {second} are both `{text}`, and {others} more are spelled like \
         another: ids and counts may differ from the model's own",
        text = Shown(text)
    )]
    SpelledAlike {
        /// The first.
        first: u32,
        /// The second.
        second: u32,
        /// What both are.
        text: String,
        /// How many more there are of the kind.
        others: usize,
    },
    /// Bytes that no token of a byte-level vocabulary stands for.
    #[error(
        "no token stands for the byte {first:#04x} alone, nor for {others} more that texts may \
         have: where no longer token has them, they are left out of what the model reads"
    )]
    MissingBytes {
        /// The first.
        first: u8,
        /// How many more there are of the kind.
        others: usize,
    },
    /// A key that names a token which is not there.
    #[error("`{key}` is {id}, but the vocabulary has {tokens} tokens: the key is passed over")]
    IdOutOfRange {
        /// The key.
        key: String,
        /// Its value.
        id: i64,
        /// Tokens of the vocabulary.
        tokens: usize,
    },
    /// A token that controls a conversation by its name, but not by its type in the file.
    #[error(
        "token {id}, `{text}`, is taken as a control token by its name; the file types it as {kind}",
        text = Shown(text)
    )]
    ControlByName {
        /// Its id.
        id: u32,
        /// Its name.
        text: String,
        /// What the file says.
        kind: &'static str,
    },
    /// A chat template that writes a marker which the vocabulary does not have.
    #[error(
        "the chat template writes `{marker}`, which is no token of this vocabulary: template and \
         tokenizer seem to belong to different models",
        marker = Shown(marker)
    )]
    ForeignMarker {
        /// The marker.
        marker: String,
    },
}

impl Warning {
    /// Whether texts may become other tokens than the model's own, so that counts are not exact.
    pub fn is_of_counts(&self) -> bool {
        match self {
            Warning::MissingPreTokenizer
            | Warning::Key(_)
            | Warning::SpelledAlike { .. }
            | Warning::MissingBytes { .. } => true,
            Warning::IdOutOfRange { .. }
            | Warning::ControlByName { .. }
            | Warning::ForeignMarker { .. } => false,
        }
    }
}
