//! Why a template could not be compiled, or a conversation not be rendered with it.

use std::time::Duration;

/// What went wrong; a template that fails is never replaced by another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source is blank: what a user writes would be lost in it.
    #[error("the chat template is empty: nothing of a conversation would be sent")]
    Empty,
    /// The source is longer than any template that is known.
    #[error("the chat template has {bytes} bytes, and at most {limit} are taken")]
    TooLong {
        /// Length of the source.
        bytes: usize,
        /// [`MAX_SOURCE_BYTES`](crate::MAX_SOURCE_BYTES).
        limit: usize,
    },
    /// The source is not in the language of templates.
    #[error("the chat template cannot be compiled: {0}")]
    Syntax(String),
    /// The template itself refused the conversation, with `raise_exception`. These are its words.
    #[error("the chat template refuses this conversation: {0}")]
    Raised(String),
    /// Something in the template failed on this conversation.
    #[error("the chat template failed: {0}")]
    Failed(String),
    /// The template did more work than any honest one needs for an input of this size.
    #[error("the chat template was stopped: it used up its limit of {fuel} steps of work")]
    OutOfFuel {
        /// Steps that were allowed.
        fuel: u64,
    },
    /// The template took longer than its limit, and will not be used again.
    #[error("the chat template was given up after its limit of {} seconds", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The template was given up before.
    #[error("the chat template is not used again: it was given up once for taking too long")]
    GivenUp,
    /// A message is not a mapping.
    #[error("message {number} is {found}; a message is a mapping with a role and a content")]
    NotAMessage {
        /// Counted from 1.
        number: usize,
        /// The kind of value.
        found: &'static str,
    },
    /// The last message has no text.
    #[error("the last message has no text that could be continued")]
    NothingToContinue,
    /// The template writes nothing of the last message's text.
    #[error(
        "the chat template does not write the last message as it is, so that it cannot be continued"
    )]
    NotContinued,
    /// The system gave no thread to work on.
    #[error("no thread could be started for the chat template: {0}")]
    NoThread(String),
}
