//! Makes tokens less likely that were there lately.

use bitnet_kernels::Want;

use super::candidates::Candidates;
use super::stage::SampleStage;

/// Divides positive logits, and multiplies negative ones, of tokens among the last
/// [`RepeatPenalty::WINDOW`] (Keskar et al., CTRL, 2019, section 4.1).
#[derive(Clone, Debug)]
pub struct RepeatPenalty {
    penalty: f32,
    recent: Vec<u32>,
}

impl RepeatPenalty {
    /// Tokens that it looks back on.
    pub const WINDOW: usize = 64;

    /// A penalty above 1 makes repetitions less likely, one below 1 more.
    pub fn new(penalty: f32) -> RepeatPenalty {
        RepeatPenalty {
            penalty,
            recent: Vec::with_capacity(RepeatPenalty::WINDOW),
        }
    }
}

impl SampleStage for RepeatPenalty {
    fn apply(&mut self, candidates: &mut Candidates) {
        candidates.change(|candidate| {
            if !self.recent.contains(&candidate.id) {
                candidate.logit
            } else if candidate.logit > 0.0 {
                candidate.logit * (1.0 / self.penalty)
            } else {
                candidate.logit * self.penalty
            }
        });
    }

    fn accept(&mut self, token: u32) {
        if self.recent.len() == RepeatPenalty::WINDOW {
            self.recent.remove(0);
        }
        self.recent.push(token);
    }

    fn forget(&mut self) {
        self.recent.clear();
    }

    /// A penalty of at least 1 only lowers logits, of at most as many tokens as the window holds.
    fn wants(&self, following: Want) -> Want {
        match following {
            Want::Top(best) if self.penalty >= 1.0 => Want::Top(best + RepeatPenalty::WINDOW),
            _ => Want::Logits,
        }
    }
}
