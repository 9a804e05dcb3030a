//! From a prompt to text.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use bitnet_kernels::Output;
use bitnet_tokenizers::Tokenizer;

use crate::error::Error;
use crate::model::{Model, Session};
use crate::sample::{Sampler, Sampling};
use crate::stop::StopStrings;

/// What to generate.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Most tokens to generate; 0 only reads the prompt.
    pub max_tokens: usize,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts at which to stop; they are not part of the result.
    pub stop: Vec<String>,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model said that it was done.
    EndOfGeneration,
    /// A stop string appeared.
    StopString,
    /// As many tokens as asked for.
    MaxTokens,
    /// No room for more.
    ContextFull,
    /// The receiver of the text wanted no more.
    Cancelled,
}

impl StopReason {
    /// The reason in one word, for machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            StopReason::EndOfGeneration => "end_of_generation",
            StopReason::StopString => "stop_string",
            StopReason::MaxTokens => "max_tokens",
            StopReason::ContextFull => "context_full",
            StopReason::Cancelled => "cancelled",
        }
    }
}

/// What was generated.
#[derive(Clone, Debug)]
pub struct Generation {
    /// The text, without the prompt.
    pub text: String,
    /// Its tokens; one that ended generation is not among them.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub stop: StopReason,
    /// Time for the prompt, until the first token was known.
    pub prefill: Duration,
    /// Time for all further tokens.
    pub decode: Duration,
}

/// Bytes of text for which there is room from the start, per token.
const BYTES_PER_TOKEN: usize = 8;

/// Reads `prompt` and generates from it, handing text to `show` as soon as it is sure.
pub fn generate(
    model: &mut Model,
    tokenizer: &Tokenizer,
    session: &mut Session,
    prompt: &[u32],
    options: &GenerateOptions,
    mut show: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<Generation, Error> {
    if prompt.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    let mut sampler = Sampler::new(options.sampling.clone());
    for token in prompt {
        sampler.accept(*token);
    }
    let mut stops = StopStrings::new(&options.stop);
    let mut decoder = tokenizer.stream();
    let mut out = Output::default();
    // Room for what is likely to come, so that nothing grows on the way.
    let room = options.max_tokens.min(session.capacity());
    let mut text = String::with_capacity(room * BYTES_PER_TOKEN);
    let mut tokens = Vec::with_capacity(room);
    let mut emit = |piece: &str, text: &mut String| {
        text.push_str(piece);
        if piece.is_empty() {
            ControlFlow::Continue(())
        } else {
            show(piece)
        }
    };

    let start = Instant::now();
    model.feed(session, prompt, sampler.want(), &mut out)?;
    let prefill = start.elapsed();
    let start = Instant::now();
    let stop = loop {
        if tokens.len() == options.max_tokens {
            break StopReason::MaxTokens;
        }
        let token = sampler.next(&out)?;
        if tokenizer.eog_ids().contains(&token) {
            break StopReason::EndOfGeneration;
        }
        tokens.push(token);
        let (piece, found) = stops.push(decoder.push(token));
        if emit(piece, &mut text).is_break() {
            break StopReason::Cancelled;
        }
        if found {
            break StopReason::StopString;
        }
        if tokens.len() == options.max_tokens {
            break StopReason::MaxTokens;
        }
        if session.len() == session.capacity() {
            break StopReason::ContextFull;
        }
        model.feed(session, &[token], sampler.want(), &mut out)?;
    };
    if !matches!(stop, StopReason::StopString | StopReason::Cancelled) {
        let (rest, found) = stops.push(&decoder.finish());
        let mut rest = rest.to_owned();
        if !found {
            rest.push_str(&stops.finish());
        }
        // Nothing follows, so it no longer matters whether the receiver wants more.
        let _ = emit(&rest, &mut text);
    }
    Ok(Generation {
        text,
        tokens,
        stop,
        prefill,
        decode: start.elapsed(),
    })
}
