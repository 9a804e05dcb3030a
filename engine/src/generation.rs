//! [`Generation`]: one prompt continued.

use crate::decoding::Decoding;
use crate::error::Error;
use crate::generated::{Generated, Piece};
use crate::sequence::Sequence;

/// A prompt being continued: an iterator over pieces of text. The prompt is read with the first of
/// them, a batch with each. Dropping it, or asking for no more, stops it; its cache is given back
/// when it is dropped.
///
/// ```
/// use bitnet_engine::{Engine, GenerateOptions, LoadOptions, StopReason};
///
/// let engine = Engine::open("../demo/demo.gguf", &LoadOptions::default())?;
/// let options = GenerateOptions::default().max_tokens(8);
/// let mut generation = engine.generate("ROMEO:\nWhat light", &options)?;
/// for piece in &mut generation {
///     print!("{}", piece?.text);
/// }
/// let generated = generation.generated();
/// assert_eq!(generated.text, "s are this, that is not so");
/// assert_eq!(generated.stop, Some(StopReason::MaxTokens));
/// # Ok::<(), bitnet_engine::Error>(())
/// ```
pub struct Generation {
    sequence: Sequence,
    decoding: Decoding,
}

impl Generation {
    pub(crate) fn new(sequence: Sequence, decoding: Decoding) -> Generation {
        Generation { sequence, decoding }
    }

    /// What was generated so far, and why it ended if it has.
    pub fn generated(&self) -> &Generated {
        &self.decoding.generated
    }
}

impl Iterator for Generation {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.decoding.next(&mut self.sequence)
    }
}

impl std::iter::FusedIterator for Generation {}
