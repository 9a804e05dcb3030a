//! [`Request`]: what a scheduler is asked for, and [`Event`]: what it gives.

use crate::error::Error;
use crate::generate_options::GenerateOptions;
use crate::generated::{Generated, Piece};
use crate::prompt::EncodedPrompt;
use crate::scheduler::logprobs::Logprobs;

/// A prompt, and what is to be generated behind it.
#[derive(Clone, Debug)]
pub struct Request<'p> {
    pub(super) tokens: &'p [u32],
    pub(super) ends: &'p [u32],
    pub(super) options: GenerateOptions,
    pub(super) logprobs: Option<usize>,
    pub(super) prompt_logprobs: Option<usize>,
}

impl<'p> Request<'p> {
    /// Continues `prompt` as `options` say.
    pub fn new(prompt: &'p EncodedPrompt, options: GenerateOptions) -> Request<'p> {
        Request {
            tokens: &prompt.tokens,
            ends: &prompt.ends,
            options,
            logprobs: None,
            prompt_logprobs: None,
        }
    }

    /// Gives each chosen token's [`Logprobs`], with those of the `best` most probable tokens.
    pub fn logprobs(mut self, best: usize) -> Request<'p> {
        self.logprobs = Some(best);
        self
    }

    /// Gives the [`Logprobs`] of the prompt's tokens too, from the second on, with those of the
    /// `best` most probable tokens at each place. All of the prompt is read for it, even where
    /// another request has read it before.
    pub fn prompt_logprobs(mut self, best: usize) -> Request<'p> {
        self.prompt_logprobs = Some(best);
        self
    }
}

/// A request that was added to a scheduler. No two of one scheduler are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub(super) u64);

/// What becomes of a request. The last event is [`Event::Ended`] or [`Event::Failed`]; a request
/// that was cancelled has none.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// It takes part in passes from now on.
    Joined {
        /// Tokens of its prompt that were read for another request.
        cached: usize,
    },
    /// So many tokens of its prompt were read.
    Read(usize),
    /// The next of its prompt's tokens, from the second on, where these were asked for.
    Prompt(Vec<Logprobs>),
    /// A token was chosen, or text that was held back is sure now.
    Piece {
        /// The token and the text.
        piece: Piece,
        /// Where they were asked for, and there is a token.
        logprobs: Option<Logprobs>,
    },
    /// The model has ended the answer by this token, which is no part of it. Where logprobs were
    /// asked for.
    End {
        /// Its id.
        token: u32,
        /// How probable it was.
        logprobs: Logprobs,
    },
    /// It is done: all that was generated, and why it ended.
    Ended(Generated),
    /// It cannot go on.
    Failed(Error),
}
