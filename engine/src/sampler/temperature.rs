//! Makes the choice more or less random.

use bitnet_kernels::Want;

use super::candidates::Candidates;
use super::stage::SampleStage;

/// Divides all logits before the choice: above 1 makes it more random, below 1 less.
#[derive(Clone, Copy, Debug)]
pub struct Temperature(pub f32);

impl SampleStage for Temperature {
    fn apply(&mut self, candidates: &mut Candidates) {
        candidates.set_temperature(f64::from(self.0));
    }

    fn wants(&self, following: Want) -> Want {
        following
    }
}
