//! [`Logprobs`]: how probable the model held a token to be.

use bitnet_kernels::Candidate;

/// The natural logarithms of probabilities that the model itself gave, before a sampler changed
/// anything: `logit - ln(sum(exp(logits)))`, in f64, added in the order of token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// That of the token that was chosen.
    pub chosen: f64,
    /// The most probable tokens with theirs, best first.
    pub best: Vec<(u32, f64)>,
}

/// What the logarithms of one row of logits are taken from.
pub(super) struct Normalizer {
    largest: f64,
    ln_sum: f64,
}

impl Normalizer {
    pub(super) fn of(logits: &[f32]) -> Normalizer {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let largest = f64::from(largest);
        let terms = logits
            .iter()
            .map(|logit| libm::exp(f64::from(*logit) - largest));
        Normalizer {
            largest,
            ln_sum: libm::log(terms.sum()),
        }
    }

    /// The logarithm of the probability of a token with this logit.
    pub(super) fn ln(&self, logit: f32) -> f64 {
        f64::from(logit) - self.largest - self.ln_sum
    }

    /// Those of candidates.
    pub(super) fn best(&self, best: &[Candidate]) -> Vec<(u32, f64)> {
        let each = best.iter();
        each.map(|token| (token.id, self.ln(token.logit))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_to_one_however_large_the_logits_are() {
        for shift in [0.0, -300.0, 1e5] {
            let logits = [0.5, 2.0, -1.0].map(|logit: f32| logit + shift);
            let normalizer = Normalizer::of(&logits);
            let sum: f64 = logits.map(|logit| normalizer.ln(logit).exp()).iter().sum();
            assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        }
    }
}
