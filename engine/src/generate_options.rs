//! [`GenerateOptions`]: what to generate.

use crate::constraint::Constraint;
use crate::error::Error;
use crate::sampler::{Sampler, Sampling};

/// What to generate. [`GenerateOptions::default`] takes the best token each time, 128 times at
/// most; each setter changes one thing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GenerateOptions {
    pub(crate) max_tokens: usize,
    pub(crate) min_tokens: usize,
    pub(crate) stop: Vec<String>,
    stop_tokens: Vec<u32>,
    ignore_ends: bool,
    pub(crate) digests: bool,
    pub(crate) speculate: usize,
    pub(crate) constraint: Option<Constraint>,
    chain: Chain,
}

/// What decides about an answer to a prompt.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Parameters<'o> {
    /// Most tokens.
    pub max_tokens: usize,
    /// Tokens that it has at least.
    pub min_tokens: usize,
    /// Texts at which it ends.
    pub stop: &'o [String],
    /// Tokens at which it ends.
    pub stop_tokens: &'o [u32],
    /// Whether it goes on behind the prompt's own.
    pub ignore_ends: bool,
    /// How tokens are chosen.
    pub sampling: &'o Sampling,
    /// What it is held to.
    pub constraint: Option<&'o Constraint>,
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
            min_tokens: 0,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_ends: false,
            digests: false,
            speculate: GenerateOptions::SPECULATE,
            constraint: None,
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

    /// Tokens that are generated at least, where there is room for them: before, no token is chosen
    /// that would end the text, and no stop text is looked for.
    pub fn min_tokens(mut self, tokens: usize) -> GenerateOptions {
        self.min_tokens = tokens;
        self
    }

    /// Ends the text at these tokens too, as at those of the prompt.
    pub fn stop_tokens(mut self, tokens: Vec<u32>) -> GenerateOptions {
        self.stop_tokens = tokens;
        self
    }

    /// Whether the text goes on behind a token that ends answers to the prompt, as behind another.
    pub fn ignore_ends(mut self, ignore: bool) -> GenerateOptions {
        self.ignore_ends = ignore;
        self
    }

    /// The tokens at which it ends, where answers to the prompt end at `of_prompt`.
    pub(crate) fn ends(&self, of_prompt: Vec<u32>) -> Vec<u32> {
        let mut ends = match self.ignore_ends {
            true => Vec::new(),
            false => of_prompt,
        };
        ends.extend(&self.stop_tokens);
        ends.sort_unstable();
        ends.dedup();
        ends
    }

    /// Ends the text where this one appears, which is no part of it. May be called several times.
    pub fn stop(mut self, text: impl Into<String>) -> GenerateOptions {
        self.stop.push(text.into());
        self
    }

    /// Guesses up to so many tokens at a time from the text itself and from the engine's earlier
    /// answers, and checks them in one pass; 0 guesses nothing, and nothing is guessed from this
    /// answer. Tokens are the same either way, to the bit of their logits; text that repeats what
    /// was said comes faster. Nothing is guessed on a GPU, and for models that keep a state.
    pub fn speculate(mut self, most: usize) -> GenerateOptions {
        self.speculate = most.min(GenerateOptions::MOST_SPECULATED);
        self
    }

    /// Holds the text to a grammar. It ends where the grammar does.
    pub fn constraint(mut self, constraint: Constraint) -> GenerateOptions {
        self.constraint = Some(constraint);
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
            min_tokens,
            stop,
            stop_tokens,
            ignore_ends,
            // They change no answer.
            digests: _,
            speculate: _,
            constraint,
            chain,
        } = self;
        match chain {
            Chain::Own(_) => None,
            Chain::Settings(sampling) => Some(Parameters {
                max_tokens: *max_tokens,
                min_tokens: *min_tokens,
                stop,
                stop_tokens,
                ignore_ends: *ignore_ends,
                sampling,
                constraint: constraint.as_ref(),
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
