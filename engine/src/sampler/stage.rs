//! [`SampleStage`]: one step on the way from logits to a token.

use bitnet_kernels::Want;

use super::candidates::Candidates;

/// One step on the way from logits to a token: it removes candidates, or changes their logits.
///
/// A closure over [`Candidates`] is a stage; implement the trait for one that remembers tokens, or
/// that is content with the best few logits.
///
/// ```
/// use bitnet_engine::sampler::{Candidates, Sampler};
/// use bitnet_engine::{GenerateOptions, Sampling};
///
/// // Never the token 13.
/// let without = |candidates: &mut Candidates| candidates.retain(|token| token.id != 13);
/// let sampler = Sampler::new(&Sampling::default())?.first(without);
/// let options = GenerateOptions::default().sampler(sampler);
/// # Ok::<(), bitnet_engine::Error>(())
/// ```
pub trait SampleStage: CloneStage + Send {
    /// Removes candidates or changes their logits.
    fn apply(&mut self, candidates: &mut Candidates);

    /// Told of every token of the sequence, those of the prompt first. A stage that remembers them
    /// forgets them in [`SampleStage::forget`].
    fn accept(&mut self, _token: u32) {}

    /// An answer has begun, or goes on: tokens that follow are generated. Called before each is
    /// chosen, and before one that a grammar leaves no choice about.
    fn begin(&mut self) {}

    /// The sequence begins anew, as it does with each turn of a conversation: all of its tokens
    /// follow. Random numbers go on.
    fn forget(&mut self) {}

    /// What the stage must be given so that what follows has what it wants: all logits, or the
    /// best few where the others cannot matter.
    fn wants(&self, _following: Want) -> Want {
        Want::Logits
    }
}

impl<F: FnMut(&mut Candidates) + Clone + Send + 'static> SampleStage for F {
    fn apply(&mut self, candidates: &mut Candidates) {
        self(candidates);
    }
}

/// Copies a stage behind its trait. Implemented for every stage that is `Clone`.
pub trait CloneStage {
    /// A stage in the same state.
    fn clone_stage(&self) -> Box<dyn SampleStage>;
}

impl<S: SampleStage + Clone + 'static> CloneStage for S {
    fn clone_stage(&self) -> Box<dyn SampleStage> {
        Box::new(self.clone())
    }
}
