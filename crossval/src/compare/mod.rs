//! One model, one lane, our engine: the same tokens through both, and what came of it.
//!
//! What each side answers is a trajectory of logits and residuals; metrics say how far two are
//! apart, layers where they part, a [`Verdict`] whether that is parity. [`transcode()`] gives a
//! reference the same weights in an encoding that it reads.

mod comparison;
pub(crate) mod layers;
pub(crate) mod metrics;
mod ours;
mod prompt;
pub(crate) mod trajectory;
mod transcode;
pub(crate) mod verdict;

pub use comparison::{
    Comparison, ComparisonError, Generated, Question, ReferenceIdentity, TokenCheck, TokenMismatch,
    Transcode, Transcoded, compare,
};
pub use layers::{LayerDistance, LayerSpread, Part, PartFinding};
pub use metrics::LogitsDistance;
pub use ours::{CacheType, Ours, OursError};
pub(crate) use prompt::vocabulary;
pub use prompt::{Prompt, PromptError, PromptText, ids};
pub use transcode::{Direction, TranscodeError, transcode};
pub use verdict::{HardLimits, Spread, Thresholds, Verdict};
