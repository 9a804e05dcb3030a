//! Makes chosen tokens more or less likely.

use std::collections::BTreeMap;

use super::candidates::Candidates;
use super::stage::SampleStage;

/// Adds to the logits of given tokens (`logit_bias` of OpenAI's API). Minus infinity forbids one.
#[derive(Clone, Debug)]
pub struct LogitBias(BTreeMap<u32, f32>);

impl LogitBias {
    /// Tokens, each with what is added to its logit.
    pub fn new(biases: impl IntoIterator<Item = (u32, f32)>) -> LogitBias {
        LogitBias(biases.into_iter().collect())
    }
}

impl SampleStage for LogitBias {
    fn apply(&mut self, candidates: &mut Candidates) {
        candidates.change(|candidate| match self.0.get(&candidate.id) {
            Some(bias) => candidate.logit + bias,
            None => candidate.logit,
        });
    }
}

#[cfg(test)]
mod tests {
    use bitnet_kernels::Output;

    use super::*;
    use crate::sampler::Sampler;

    #[test]
    fn a_bias_moves_its_token_alone() {
        let biases = [(0, -3.0), (2, f32::NEG_INFINITY)];
        let mut sampler = Sampler::best().then(LogitBias::new(biases));
        let output = Output {
            logits: vec![5.0, 3.0, 9.0],
            top: Vec::new(),
        };
        let chosen = sampler.choose(&output).unwrap();
        // The logit is the one that the model gave.
        assert_eq!((chosen.id, chosen.logit), (1, 3.0));
    }
}
