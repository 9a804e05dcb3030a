//! [`GenerateOptions`]: what to generate.

use crate::error::Error;
use crate::sampler::{Sampler, Sampling};

/// What to generate. [`GenerateOptions::default`] takes the best token each time, 128 times at
/// most; each setter changes one thing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GenerateOptions {
    pub(crate) max_tokens: usize,
    pub(crate) stop: Vec<String>,
    pub(crate) digests: bool,
    pub(crate) speculate: usize,
    chain: Chain,
}

/// What decides about an answer to a prompt.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Parameters<'o> {
    /// Most tokens.
    pub max_tokens: usize,
    /// Texts at which it ends.
    pub stop: &'o [String],
    /// How tokens are chosen.
    pub sampling: &'o Sampling,
}

/// A sampler, or the settings to make one from.
#[derive(Clone, Debug)]
enum Chain {
    Settings(Sampling),
    Own(Sampler),
}

impl Default for GenerateOptions {
    fn default() -> GenerateOptions {
        GenerateOptions {
            max_tokens: 128,
            stop: Vec::new(),
            digests: false,
            speculate: GenerateOptions::SPECULATE,
            chain: Chain::Settings(Sampling::default()),
        }
    }
}

impl GenerateOptions {
    /// Tokens that are guessed at a time by default, at most.
    pub const SPECULATE: usize = 15;
    /// Tokens that can be guessed at a time; what asks for more gets these.
    pub const MOST_SPECULATED: usize = 31;

    /// Most tokens to generate; 0 only reads the prompt.
    pub fn max_tokens(mut self, tokens: usize) -> GenerateOptions {
        self.max_tokens = tokens;
        self
    }

    /// Ends the text where this one appears, which is no part of it. May be called several times.
    pub fn stop(mut self, text: impl Into<String>) -> GenerateOptions {
        self.stop.push(text.into());
        self
    }

    /// Guesses up to so many tokens at a time from the text itself, and checks them in one pass; 0
    /// guesses nothing. Tokens are the same either way, to the bit of their logits; text that
    /// repeats itself comes faster. Nothing is guessed on a GPU, and for models that keep a state.
    pub fn speculate(mut self, most: usize) -> GenerateOptions {
        self.speculate = most.min(GenerateOptions::MOST_SPECULATED);
        self
    }

    /// How tokens are chosen, in numbers.
    pub fn sampling(mut self, sampling: Sampling) -> GenerateOptions {
        self.chain = Chain::Settings(sampling);
        self
    }

    /// How tokens are chosen, by a chain of one's own. Each generation starts with a copy of it.
    pub fn sampler(mut self, sampler: Sampler) -> GenerateOptions {
        self.chain = Chain::Own(sampler);
        self
    }

    /// Whether the digests of all logits are given ([`Generated::logits`]), which takes computing
    /// all of them. The tokens are the same.
    ///
    /// [`Generated::logits`]: crate::Generated::logits
    pub fn digests(mut self, digests: bool) -> GenerateOptions {
        self.digests = digests;
        self
    }

    /// What decides about the answer, to be written down; nothing where tokens are chosen by a
    /// chain of one's own, which cannot be.
    pub fn parameters(&self) -> Option<Parameters<'_>> {
        let GenerateOptions {
            max_tokens,
            stop,
            // They change no answer.
            digests: _,
            speculate: _,
            chain,
        } = self;
        match chain {
            Chain::Own(_) => None,
            Chain::Settings(sampling) => Some(Parameters {
                max_tokens: *max_tokens,
                stop,
                sampling,
            }),
        }
    }

    /// The sampler for one sequence.
    pub(crate) fn new_sampler(&self) -> Result<Sampler, Error> {
        match &self.chain {
            Chain::Settings(sampling) => Sampler::new(sampling),
            Chain::Own(sampler) => Ok(sampler.clone()),
        }
    }
}
