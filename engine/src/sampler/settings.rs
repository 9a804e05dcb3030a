//! The numbers that people set.

use super::penalty::RepeatPenalty;

/// How the next token is chosen, in the numbers that people set: the settings of the chain that
/// [`Sampler::new`] makes, which applies in the order of the fields. The default takes the best
/// token.
///
/// [`Sampler::new`]: crate::Sampler::new
///
/// ```
/// use bitnet_engine::Sampling;
///
/// let sampling = Sampling::default().temperature(0.8).top_p(0.9).seed(7);
/// assert!(sampling.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sampling {
    /// Tokens with what is added to their logits.
    pub logit_bias: Vec<(u32, f32)>,
    /// Taken off the logit of every token that was generated; 0 changes nothing.
    pub presence_penalty: f32,
    /// Taken off the logit of a token as often as it was generated; 0 changes nothing.
    pub frequency_penalty: f32,
    /// Divides positive logits, and multiplies negative ones, of tokens among the last
    /// [`Sampling::REPEAT_WINDOW`]; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Keeps only so many of the best; 0 keeps all.
    pub top_k: usize,
    /// Keeps the best whose probabilities just reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keeps those at least so probable as this share of the best's probability; 0 keeps all.
    pub min_p: f32,
    /// Divides logits before the draw; 0 takes the best.
    pub temperature: f32,
    /// Start of the random sequence. The same seed gives the same draw on every machine.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            logit_bias: Vec::new(),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repeat_penalty: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            temperature: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Tokens that the repetition penalty looks back on.
    pub const REPEAT_WINDOW: usize = RepeatPenalty::WINDOW;

    /// Sets [`Sampling::logit_bias`].
    pub fn logit_bias(mut self, bias: Vec<(u32, f32)>) -> Sampling {
        self.logit_bias = bias;
        self
    }

    /// Sets [`Sampling::presence_penalty`].
    pub fn presence_penalty(mut self, penalty: f32) -> Sampling {
        self.presence_penalty = penalty;
        self
    }

    /// Sets [`Sampling::frequency_penalty`].
    pub fn frequency_penalty(mut self, penalty: f32) -> Sampling {
        self.frequency_penalty = penalty;
        self
    }

    /// Sets [`Sampling::repeat_penalty`].
    pub fn repeat_penalty(mut self, penalty: f32) -> Sampling {
        self.repeat_penalty = penalty;
        self
    }

    /// Sets [`Sampling::top_k`].
    pub fn top_k(mut self, count: usize) -> Sampling {
        self.top_k = count;
        self
    }

    /// Sets [`Sampling::top_p`].
    pub fn top_p(mut self, sum: f32) -> Sampling {
        self.top_p = sum;
        self
    }

    /// Sets [`Sampling::min_p`].
    pub fn min_p(mut self, share: f32) -> Sampling {
        self.min_p = share;
        self
    }

    /// Sets [`Sampling::temperature`].
    pub fn temperature(mut self, temperature: f32) -> Sampling {
        self.temperature = temperature;
        self
    }

    /// Sets [`Sampling::seed`].
    pub fn seed(mut self, seed: u64) -> Sampling {
        self.seed = seed;
        self
    }

    /// Whether every value is in its range.
    ///
    /// # Errors
    /// What a value out of its range should have been.
    pub fn check(&self) -> Result<(), String> {
        let Sampling {
            presence_penalty,
            frequency_penalty,
            repeat_penalty,
            top_p,
            min_p,
            temperature,
            ..
        } = *self;
        for (name, penalty) in [
            ("presence", presence_penalty),
            ("frequency", frequency_penalty),
        ] {
            if !penalty.is_finite() {
                return Err(format!(
                    "the {name} penalty is {penalty}; it must be a number (0 changes nothing)"
                ));
            }
        }
        if let Some((id, bias)) = self.logit_bias.iter().find(|(_, bias)| !bias.is_finite()) {
            return Err(format!(
                "the bias of token {id} is {bias}; it must be a number (0 changes nothing)"
            ));
        }
        if !(repeat_penalty.is_finite() && repeat_penalty > 0.0) {
            return Err(format!(
                "the repeat penalty is {repeat_penalty}; it must be above 0 (1 changes nothing)"
            ));
        }
        if !(0.0..=1.0).contains(&top_p) || top_p == 0.0 {
            return Err(format!(
                "top-p is {top_p}; it must be above 0 and at most 1 (1 keeps all)"
            ));
        }
        if !(0.0..=1.0).contains(&min_p) {
            return Err(format!(
                "min-p is {min_p}; it must be in 0 ..= 1 (0 keeps all)"
            ));
        }
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(format!(
                "the temperature is {temperature}; it must be 0 or above (0 takes the best)"
            ));
        }
        Ok(())
    }
}
