//! Keeps the best that together are probable enough.

use super::candidates::Candidates;
use super::stage::SampleStage;

/// Keeps the best candidates whose probabilities just reach this sum (nucleus sampling: Holtzman
/// et al., The Curious Case of Neural Text Degeneration, 2019).
#[derive(Clone, Copy, Debug)]
pub struct TopP(pub f32);

/// Candidates that are put in order at first. Mostly they reach the sum, and the order of all
/// others does not matter.
const FIRST: usize = 64;

impl SampleStage for TopP {
    fn apply(&mut self, candidates: &mut Candidates) {
        let Some(weights) = candidates.weights() else {
            return;
        };
        let all: f64 = candidates.iter().map(|it| weights.of(it)).sum();
        let enough = all * f64::from(self.0);
        let (mut sum, mut kept, mut ordered) = (0.0, 0, FIRST);
        while sum < enough && kept < candidates.len() {
            for candidate in &candidates.order(ordered)[kept..] {
                sum += weights.of(*candidate);
                kept += 1;
                if sum >= enough {
                    break;
                }
            }
            ordered *= 4;
        }
        candidates.keep_best(kept);
    }
}
