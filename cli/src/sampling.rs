//! How `run` and `chat` choose tokens, and how they are told.

use anyhow::Result;
use bitnet_engine::Sampling;

/// How the next token is chosen.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct SamplingArgs {
    /// Randomness of the choice; 0 always takes the best token
    #[arg(
        long,
        default_value_t = 0.0,
        value_name = "T",
        allow_negative_numbers = true
    )]
    temperature: f32,
    /// Choose among so many of the best tokens; 0 for all
    #[arg(long, default_value_t = 40, value_name = "K")]
    top_k: usize,
    /// Choose among the best tokens whose probabilities reach this sum; 1 for all
    #[arg(long, default_value_t = 0.95, value_name = "P")]
    top_p: f32,
    /// Choose among tokens at least so probable as this share of the best; 0 for all
    #[arg(long, default_value_t = 0.05, value_name = "P")]
    min_p: f32,
    /// Make tokens of the last 64 less likely; 1 changes nothing
    #[arg(long, default_value_t = 1.0, value_name = "R")]
    repeat_penalty: f32,
    /// Start of the random sequence; the same seed gives the same text
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) seed: u64,
}

impl SamplingArgs {
    /// Whether chance has a part in it.
    pub(crate) fn draws(&self) -> bool {
        self.temperature > 0.0
    }

    /// The settings, checked.
    pub(crate) fn sampling(&self) -> Result<Sampling> {
        let sampling = Sampling::default()
            .repeat_penalty(self.repeat_penalty)
            .top_k(self.top_k)
            .top_p(self.top_p)
            .min_p(self.min_p)
            .temperature(self.temperature)
            .seed(self.seed);
        sampling.check().map_err(anyhow::Error::msg)?;
        Ok(sampling)
    }
}
