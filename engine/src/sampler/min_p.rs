//! Keeps what is not much less probable than the best.

use bitnet_kernels::Want;

use super::candidates::Candidates;
use super::stage::SampleStage;

/// Keeps the candidates at least so probable as this share of the best's probability (Nguyen et
/// al., Turning Up the Heat: Min-p Sampling, 2024).
#[derive(Clone, Copy, Debug)]
pub struct MinP(pub f32);

impl SampleStage for MinP {
    fn apply(&mut self, candidates: &mut Candidates) {
        let Some(weights) = candidates.weights() else {
            return;
        };
        let share = f64::from(self.0);
        // A little less than what the exact comparison asks for, which would have to be made for
        // every candidate.
        let least = weights.best + libm::log(share) * weights.temperature - 1e-6;
        candidates.retain(|candidate| {
            f64::from(candidate.logit) >= least && weights.of(*candidate) >= share
        });
    }

    fn wants(&self, following: Want) -> Want {
        following
    }
}
