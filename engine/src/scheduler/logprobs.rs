//! [`Logprobs`]: how probable the model held a token to be.

use bitnet_kernels::Candidate;

use crate::error::Error;
use crate::rows::Row;

/// The natural logarithms of probabilities that the model itself gave, before a sampler changed
/// anything: `logit - ln(sum(exp(logits)))`, in f64, added in the order of token ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// That of the token that was chosen, or that stands in the prompt.
    pub chosen: f64,
    /// Its place among all tokens, best first, from 1 on.
    pub rank: usize,
    /// The most probable tokens with theirs, best first.
    pub best: Vec<(u32, f64)>,
}

impl Logprobs {
    /// Of a token by the row of all logits, and of the `best` most probable ones.
    ///
    /// # Errors
    /// [`Error::DamagedLogits`] where a logit is not finite.
    pub(super) fn of(token: u32, row: &Row<'_>, best: usize) -> Result<Logprobs, Error> {
        if let Some(damaged) = row.logits.iter().position(|logit| !logit.is_finite()) {
            let id = damaged as u32;
            return Err(Error::DamagedLogits { id });
        }
        let normalizer = Normalizer::of(row.logits);
        let candidates = (0..).zip(row.logits);
        let candidates = candidates.map(|(id, logit)| Candidate::new(id, *logit));
        let logit = row.logits[token as usize];
        let own = Candidate::new(token, logit);
        let best = row.best(best);
        let best = best.iter();
        Ok(Logprobs {
            chosen: normalizer.ln(logit),
            rank: 1 + candidates
                .filter(|other| Candidate::best_first(other, &own).is_lt())
                .count(),
            best: best
                .map(|token| (token.id, normalizer.ln(token.logit)))
                .collect(),
        })
    }
}

/// What the logarithms of one row of logits are taken from.
struct Normalizer {
    largest: f64,
    ln_sum: f64,
}

impl Normalizer {
    fn of(logits: &[f32]) -> Normalizer {
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
    fn ln(&self, logit: f32) -> f64 {
        f64::from(logit) - self.largest - self.ln_sum
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
