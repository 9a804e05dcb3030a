//! What comes out of a model: pieces of text, and what they were in all.

use std::time::Duration;

use bitnet_files::Sha256Hex;
use bitnet_kernels::Candidate;
use smol_str::SmolStr;

/// One step of a generation: a token, or a batch of the prompt that was read.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Piece {
    /// The text that is sure now. Empty where the token ends in half a character, or in what may
    /// become a stop text.
    pub text: SmolStr,
    /// Whether the text is of a thought that leads to the answer. A [`Chat`] tells; what
    /// [`Engine::generate`] gives is as the model wrote it.
    ///
    /// [`Chat`]: crate::Chat
    /// [`Engine::generate`]: crate::Engine::generate
    pub thought: bool,
    /// The token that was chosen, with the logit that the model gave it: NaN where a grammar left
    /// no choice, so that none was computed. None where a batch of a long prompt was read and more
    /// of it follows, so that it can be stopped there, and where the piece is what was held back.
    pub token: Option<Candidate>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The model said that it was done.
    EndOfGeneration,
    /// The grammar that held it allows nothing more.
    Complete,
    /// A stop text appeared.
    StopString,
    /// As many tokens as asked for.
    MaxTokens,
    /// No room for more.
    ContextFull,
}

impl StopReason {
    /// The reason in one word, for machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            StopReason::EndOfGeneration => "end_of_generation",
            StopReason::Complete => "complete",
            StopReason::StopString => "stop_string",
            StopReason::MaxTokens => "max_tokens",
            StopReason::ContextFull => "context_full",
        }
    }
}

/// What was generated so far.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Generated {
    /// The text of all pieces, without the prompt.
    pub text: String,
    /// Its tokens; one that ended generation is not among them.
    pub tokens: Vec<u32>,
    /// The digest of the logits that each token was chosen by: SHA-256 over their bits, as
    /// little-endian f32 in the order of token ids. One more where a token ended it. Nothing unless
    /// [`GenerateOptions::digests`] asked for it.
    ///
    /// [`GenerateOptions::digests`]: crate::GenerateOptions::digests
    pub logits: Vec<Sha256Hex>,
    /// How many of its tokens had been guessed and read ahead.
    pub guessed: usize,
    /// Why it ended; none while it has not.
    pub stop: Option<StopReason>,
    /// The token that ended it, where one did.
    pub end: Option<Candidate>,
    /// The stop text that ended it, where one did.
    pub stop_text: Option<String>,
    /// Time that was spent on the prompt, until the logits behind it were known.
    pub prefill: Duration,
    /// Time that was spent on everything since, without what the caller did between pieces.
    pub decode: Duration,
}
