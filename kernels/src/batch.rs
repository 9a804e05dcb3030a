//! What a forward pass is asked for, and what it gives back.

use std::ops::Range;

use crate::candidate::Candidate;
use crate::error::BackendError;
use crate::program::{Program, Rows};
use crate::token_set::TokenSet;

/// Names a cache of one sequence, made by [`Forward::create_cache`](crate::Forward::create_cache).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheId(pub u32);

/// A run of tokens of one sequence: they take positions `start .. start + len` of its cache. What
/// the cache holds before `start` is used, what it held from there on is overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The sequence's cache.
    pub cache: CacheId,
    /// Position of the first token. In a program with a state it must be the number of tokens that
    /// the sequence has read.
    pub start: usize,
    /// Number of tokens.
    pub len: usize,
}

impl Segment {
    /// Checks that the segment's positions are in a cache of `capacity` positions, and returns
    /// them.
    ///
    /// # Errors
    /// [`BackendError::Batch`] where they are not.
    pub fn positions(&self, capacity: usize) -> Result<Range<usize>, BackendError> {
        cache_positions(self.start, self.len, capacity)
    }

    /// Checks that the segment continues a sequence whose state `stands` after so many tokens, at
    /// its end. It stands for none that could be named where a pass has failed on the way.
    ///
    /// # Errors
    /// It starts elsewhere.
    pub fn continues(&self, stands: Option<usize>) -> Result<(), BackendError> {
        if stands == Some(self.start) {
            return Ok(());
        }
        Err(BackendError::NoWayBack {
            cache: self.cache.0,
            stands,
            start: self.start,
        })
    }
}

/// The positions `start .. start + len` of a cache that has `capacity` of them.
///
/// # Errors
/// [`BackendError::Batch`] where they do not fit.
pub fn cache_positions(
    start: usize,
    len: usize,
    capacity: usize,
) -> Result<Range<usize>, BackendError> {
    match start.checked_add(len) {
        Some(end) if end <= capacity => Ok(start..end),
        _ => Err(BackendError::Batch(format!(
            "{len} positions from {start} on do not fit a cache of {capacity}"
        ))),
    }
}

/// Tokens to run in one forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Token ids, segment after segment.
    pub tokens: &'a [u32],
    /// Which sequence and positions they belong to; lengths add up to `tokens.len()`. A cache
    /// appears once.
    pub segments: &'a [Segment],
    /// Indices into `tokens` whose logits are wanted, ascending, each at most once.
    pub selected: &'a [u32],
}

/// What a forward pass gives back for each selected token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: the pass only fills caches.
    Nothing,
    /// All logits.
    Logits,
    /// The `k` largest logits with their ids.
    Top(usize),
}

/// What the token behind a selected one is to be chosen from: the best `count`.
#[derive(Clone, Copy, Debug)]
pub struct Choice<'a> {
    /// How many.
    pub count: usize,
    /// The tokens among which they are looked for; all where there is none.
    pub among: Option<&'a TokenSet>,
}

/// The results of a forward pass. Reused from call to call, so that a decode step allocates
/// nothing.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// After [`Want::Logits`]: `[selected, vocabulary]`. What is not finite is
    /// [`NAN`](crate::order::NAN).
    pub logits: Vec<f32>,
    /// After [`Want::Top`]: `[selected, k]`, in the order of [`Candidate::best_first`]. `k` is at
    /// most the vocabulary. After [`Forward::forward_choices`](crate::Forward::forward_choices):
    /// the same, of the largest count, and [`Candidate::NONE`] behind the last of each.
    pub top: Vec<Candidate>,
}

impl<'a> Batch<'a> {
    /// The batch with no row selected where nobody looks at the rows, so that the head is left out.
    pub fn wanting(self, want: Want) -> Batch<'a> {
        match want {
            Want::Nothing => Batch {
                selected: &[],
                ..self
            },
            Want::Logits | Want::Top(_) => self,
        }
    }
}

impl Batch<'_> {
    /// Rows that a buffer has in this batch.
    pub fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::Batch => self.tokens.len(),
            Rows::Selected => self.selected.len(),
            Rows::Routed { experts } => self.tokens.len() * experts,
        }
    }

    /// The largest count of some choices, at most a vocabulary: how many candidates
    /// [`Forward::forward_choices`](crate::Forward::forward_choices) gives for each.
    ///
    /// # Errors
    /// [`BackendError::Batch`] where there is not one choice for each selected token.
    pub fn most(&self, choices: &[Choice<'_>], vocabulary: usize) -> Result<usize, BackendError> {
        let (rows, given) = (self.selected.len(), choices.len());
        if rows != given {
            return Err(BackendError::Batch(format!(
                "{given} choices for {rows} selected tokens"
            )));
        }
        let most = choices.iter().map(|choice| choice.count).max();
        Ok(most.unwrap_or(0).min(vocabulary))
    }

    /// Checks the batch against itself and a program's vocabulary.
    ///
    /// # Errors
    /// [`BackendError::Batch`] with what does not fit.
    pub fn validate(&self, program: &Program) -> Result<(), BackendError> {
        let wrong = |text: String| Err(BackendError::Batch(text));
        let lengths = self.segments.iter().map(|segment| segment.len);
        let total = lengths.fold(0, usize::saturating_add);
        if total != self.tokens.len() {
            return wrong(format!(
                "segments cover {total} tokens, there are {}",
                self.tokens.len()
            ));
        }
        if let Some(id) = self
            .tokens
            .iter()
            .find(|id| **id as usize >= program.vocabulary)
        {
            return wrong(format!(
                "token id {id} is outside the vocabulary of {}",
                program.vocabulary
            ));
        }
        for (i, segment) in self.segments.iter().enumerate() {
            if self.segments[..i]
                .iter()
                .any(|other| other.cache == segment.cache)
            {
                return wrong(format!("cache {} appears twice", segment.cache.0));
            }
        }
        if let Some(row) = self.selected.iter().find(|row| **row as usize >= total) {
            return wrong(format!("selected row {row} of {total} tokens"));
        }
        if !self.selected.is_sorted_by(|a, b| a < b) {
            return wrong("selected rows are not in ascending order, each once".to_owned());
        }
        Ok(())
    }
}
