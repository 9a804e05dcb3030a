//! From logits to the next token: a chain of stages, and a choice at its end.
//!
//! [`Sampler::new`] makes the usual chain from [`Sampling`]: biases and penalties, top-k, top-p,
//! min-p, temperature, and a draw. [`Sampler::first`] and [`Sampler::then`] add a stage of one's
//! own; [`Sampler::best`] and [`Sampler::drawing`] start from an empty chain.

mod bias;
mod candidates;
mod chain;
mod min_p;
mod occurrence;
mod penalty;
mod pick;
mod random;
mod settings;
mod stage;
mod temperature;
mod top_k;
mod top_p;

pub use bias::LogitBias;
pub use candidates::{Candidates, Weights};
pub use chain::Sampler;
pub use min_p::MinP;
pub use occurrence::OccurrencePenalty;
pub use penalty::RepeatPenalty;
pub use settings::Sampling;
pub use stage::{CloneStage, SampleStage};
pub use temperature::Temperature;
pub use top_k::TopK;
pub use top_p::TopP;
