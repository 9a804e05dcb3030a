//! The end of the chain: one of the candidates that are left.

use bitnet_kernels::{Candidate, Want};

use super::candidates::Candidates;
use super::random::SplitMix64;

/// How one of the candidates is chosen.
#[derive(Clone, Debug)]
pub(crate) enum Pick {
    /// The best.
    Best,
    /// At random, by their probabilities.
    Draw(SplitMix64),
}

impl Pick {
    /// What it must be given.
    pub(crate) fn wants(&self) -> Want {
        match self {
            Pick::Best => Want::Top(1),
            Pick::Draw(_) => Want::Logits,
        }
    }

    /// One of the candidates; nothing where there is none.
    pub(crate) fn choose(&mut self, candidates: &mut Candidates) -> Option<Candidate> {
        match self {
            Pick::Best => candidates.best(),
            Pick::Draw(random) => draw(candidates, random),
        }
    }
}

fn draw(candidates: &mut Candidates, random: &mut SplitMix64) -> Option<Candidate> {
    let weights = candidates.weights()?;
    let ordered = candidates.order(usize::MAX);
    let total: f64 = ordered.iter().map(|it| weights.of(*it)).sum();
    let mut point = random.unit() * total;
    let drawn = ordered.iter().find(|candidate| {
        point -= weights.of(**candidate);
        point < 0.0
    });
    // Rounding can leave a sliver behind the last one.
    drawn.or(ordered.last()).copied()
}
