//! Keeps so many of the best.

use bitnet_kernels::Want;

use super::candidates::Candidates;
use super::stage::SampleStage;

/// Above so many, all logits are computed: a search for the best would take longer.
const MOST_SEARCHED: usize = 1024;

/// Keeps only so many of the best candidates, at least one (Fan et al., Hierarchical Neural Story
/// Generation, 2018).
#[derive(Clone, Copy, Debug)]
pub struct TopK(pub usize);

impl SampleStage for TopK {
    fn apply(&mut self, candidates: &mut Candidates) {
        candidates.keep_best(self.0.max(1));
    }

    fn wants(&self, following: Want) -> Want {
        match following {
            Want::Top(best) => Want::Top(best.min(self.0.max(1))),
            _ if self.0 > MOST_SEARCHED => Want::Logits,
            _ => Want::Top(self.0.max(1)),
        }
    }
}
