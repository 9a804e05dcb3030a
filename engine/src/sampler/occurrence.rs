//! Makes tokens less likely that were generated before.

use std::collections::BTreeMap;

use super::candidates::Candidates;
use super::stage::SampleStage;

/// Takes `presence` off the logit of every token that was generated, and `frequency` as often as it
/// was (OpenAI's API, "Frequency and presence penalties"). Tokens of the prompt do not count, as in
/// vLLM.
#[derive(Clone, Debug)]
pub struct OccurrencePenalty {
    presence: f32,
    frequency: f32,
    generated: BTreeMap<u32, u32>,
    /// Whether an answer has begun: what is accepted from then on was generated.
    begun: bool,
}

impl OccurrencePenalty {
    /// Values above 0 make repetitions less likely, those below more.
    pub fn new(presence: f32, frequency: f32) -> OccurrencePenalty {
        OccurrencePenalty {
            presence,
            frequency,
            generated: BTreeMap::new(),
            begun: false,
        }
    }
}

impl SampleStage for OccurrencePenalty {
    fn begin(&mut self) {
        self.begun = true;
    }

    fn apply(&mut self, candidates: &mut Candidates) {
        if self.generated.is_empty() {
            return;
        }
        candidates.change(|candidate| match self.generated.get(&candidate.id) {
            Some(&times) => candidate.logit - self.presence - self.frequency * times as f32,
            None => candidate.logit,
        });
    }

    fn accept(&mut self, token: u32) {
        if self.begun {
            *self.generated.entry(token).or_default() += 1;
        }
    }

    fn forget(&mut self) {
        self.generated.clear();
        self.begun = false;
    }
}

#[cfg(test)]
mod tests {
    use bitnet_kernels::Output;

    use super::*;
    use crate::sampler::Sampler;

    #[test]
    fn a_generated_token_loses_what_it_should_each_time_and_the_prompt_does_not_count() {
        let mut sampler = Sampler::best().then(OccurrencePenalty::new(1.0, 0.5));
        sampler.accept(0);
        sampler.accept(0);
        let output = Output {
            logits: vec![5.0, 4.2, 2.0],
            top: Vec::new(),
        };
        // 5; 3.5 after one, 3.0 after two. 4.2; 2.7 after one, 2.2 after two.
        let chosen = [0; 6].map(|_| sampler.choose(&output).unwrap().id);
        assert_eq!(chosen, [0, 1, 0, 0, 1, 0]);
        // One that was forced counts, even as the first.
        let mut sampler = Sampler::best().then(OccurrencePenalty::new(1.0, 0.5));
        sampler.accept(1);
        sampler.force(0);
        assert_eq!(sampler.choose(&output).unwrap().id, 1);
        sampler.forget();
        assert_eq!(sampler.choose(&output).unwrap().id, 0);
    }
}
