//! [`Sampler`]: the stages in their order, and the choice behind them.

use std::fmt;

use bitnet_kernels::{Candidate, Output, TokenSet, Want};

use super::bias::LogitBias;
use super::candidates::Candidates;
use super::min_p::MinP;
use super::occurrence::OccurrencePenalty;
use super::penalty::RepeatPenalty;
use super::pick::Pick;
use super::random::SplitMix64;
use super::settings::Sampling;
use super::stage::SampleStage;
use super::temperature::Temperature;
use super::top_k::TopK;
use super::top_p::TopP;
use crate::error::Error;

/// Tokens that may come next up to which only their logits are wanted where all would be.
const FEW: usize = 2048;

/// Chooses the tokens of one sequence, one after another.
///
/// ```
/// use bitnet_engine::sampler::{Sampler, TopK};
/// use bitnet_engine::{Output, Want};
///
/// let mut sampler = Sampler::drawing(7).then(TopK(2));
/// assert_eq!(sampler.want(), Want::Top(2));
/// let mut output = Output::default();
/// output.logits = vec![0.5, 3.0, 2.5];
/// assert!([1, 2].contains(&sampler.choose(&output)?.id));
/// # Ok::<(), bitnet_engine::Error>(())
/// ```
pub struct Sampler {
    stages: Vec<Box<dyn SampleStage>>,
    pick: Pick,
    candidates: Candidates,
    /// What a grammar allows next; all where there is none.
    allowed: Option<TokenSet>,
}

impl Sampler {
    /// The usual chain, without the stages that would change nothing.
    ///
    /// # Errors
    /// [`Error::Sampling`] where a value is out of its range.
    pub fn new(sampling: &Sampling) -> Result<Sampler, Error> {
        sampling.check().map_err(Error::Sampling)?;
        let greedy = sampling.temperature == 0.0;
        let mut sampler = match greedy {
            true => Sampler::best(),
            false => Sampler::drawing(sampling.seed),
        };
        if !sampling.logit_bias.is_empty() {
            sampler = sampler.then(LogitBias::new(sampling.logit_bias.iter().copied()));
        }
        let (presence, frequency) = (sampling.presence_penalty, sampling.frequency_penalty);
        if presence != 0.0 || frequency != 0.0 {
            sampler = sampler.then(OccurrencePenalty::new(presence, frequency));
        }
        if sampling.repeat_penalty != 1.0 {
            sampler = sampler.then(RepeatPenalty::new(sampling.repeat_penalty));
        }
        // The best passes every filter.
        if greedy {
            return Ok(sampler);
        }
        if sampling.top_k > 0 {
            sampler = sampler.then(TopK(sampling.top_k));
        }
        if sampling.top_p < 1.0 {
            sampler = sampler.then(TopP(sampling.top_p));
        }
        if sampling.min_p > 0.0 {
            sampler = sampler.then(MinP(sampling.min_p));
        }
        Ok(sampler.then(Temperature(sampling.temperature)))
    }

    /// Takes the best token, behind stages to be added.
    pub fn best() -> Sampler {
        Sampler::ending_in(Pick::Best)
    }

    /// Draws tokens by their probabilities, behind stages to be added. The same seed gives the same
    /// draw on every machine.
    pub fn drawing(seed: u64) -> Sampler {
        Sampler::ending_in(Pick::Draw(SplitMix64::new(seed)))
    }

    fn ending_in(pick: Pick) -> Sampler {
        Sampler {
            stages: Vec::new(),
            pick,
            candidates: Candidates::default(),
            allowed: None,
        }
    }

    /// Chooses the next token among these alone, before any stage, or again among all.
    pub(crate) fn allow(&mut self, allowed: Option<TokenSet>) {
        self.allowed = allowed;
    }

    /// Adds a stage behind those there are.
    pub fn then(mut self, stage: impl SampleStage + 'static) -> Sampler {
        self.stages.push(Box::new(stage));
        self
    }

    /// Adds a stage before those there are.
    pub fn first(mut self, stage: impl SampleStage + 'static) -> Sampler {
        self.stages.insert(0, Box::new(stage));
        self
    }

    /// What to ask of a forward pass, as little as possible. Where a grammar holds the next token,
    /// it is asked of the tokens that may come next alone.
    pub fn want(&self) -> Want {
        let stages = self.stages.iter().rev();
        let want = stages.fold(self.pick.wants(), |want, stage| stage.wants(want));
        match (&self.allowed, want) {
            (Some(allowed), Want::Logits) if allowed.len() <= FEW => {
                Want::Top(allowed.len().max(1))
            }
            _ => want,
        }
    }

    /// Notes a token of the prompt, for stages that look back.
    pub fn accept(&mut self, token: u32) {
        for stage in &mut self.stages {
            stage.accept(token);
        }
    }

    /// Notes a token that comes next without being chosen.
    pub(crate) fn force(&mut self, token: u32) {
        for stage in &mut self.stages {
            stage.begin();
            stage.accept(token);
        }
    }

    /// The tokens that the next one is chosen among; none where these are all.
    pub(crate) fn allowed(&self) -> Option<&TokenSet> {
        self.allowed.as_ref()
    }

    /// Notes that the sequence begins anew: all of its tokens follow.
    pub fn forget(&mut self) {
        for stage in &mut self.stages {
            stage.forget();
        }
    }

    /// Chooses the next token from what [`Sampler::want`] asked for, for one sequence, and notes
    /// it. Its logit is the one that the model gave.
    ///
    /// # Errors
    /// [`Error::DamagedLogits`] where a logit is not finite, [`Error::NoCandidate`] where the
    /// stages left none.
    pub fn choose(&mut self, output: &Output) -> Result<Candidate, Error> {
        self.choose_but(&[], output)
    }

    /// The same, and none of the tokens `left_out`: there is as much more in `output`.
    pub(crate) fn choose_but(
        &mut self,
        left_out: &[u32],
        output: &Output,
    ) -> Result<Candidate, Error> {
        self.candidates.fill(output, self.allowed.as_ref())?;
        if !left_out.is_empty() {
            self.candidates
                .retain(|candidate| !left_out.contains(&candidate.id));
        }
        for stage in &mut self.stages {
            stage.begin();
            stage.apply(&mut self.candidates);
        }
        let chosen = self.pick.choose(&mut self.candidates);
        let id = chosen.ok_or(Error::NoCandidate)?.id;
        self.accept(id);
        let listed = output.top.iter().find(|candidate| candidate.id == id);
        let logit = match listed {
            Some(candidate) => candidate.logit,
            None => output.logits[id as usize],
        };
        Ok(Candidate { id, logit })
    }
}

impl Clone for Sampler {
    fn clone(&self) -> Sampler {
        let stages = self.stages.iter();
        Sampler {
            stages: stages.map(|stage| (**stage).clone_stage()).collect(),
            pick: self.pick.clone(),
            candidates: Candidates::default(),
            allowed: self.allowed.clone(),
        }
    }
}

impl fmt::Debug for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sampler")
            .field("stages", &self.stages.len())
            .field("pick", &self.pick)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(logits: &[f32]) -> Output {
        Output {
            logits: logits.to_vec(),
            top: Vec::new(),
        }
    }

    fn sampler(sampling: &Sampling) -> Sampler {
        Sampler::new(sampling).unwrap()
    }

    /// How often each token is drawn, each time as the first of a sequence.
    fn drawn(sampling: &Sampling, logits: &[f32]) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        for seed in 0..4000 {
            let mut sampler = sampler(&sampling.clone().seed(seed));
            counts[sampler.choose(&output(logits)).unwrap().id as usize] += 1;
        }
        counts
    }

    const ALL: Sampling = Sampling {
        logit_bias: Vec::new(),
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        repeat_penalty: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        temperature: 1.0,
        seed: 7,
    };

    #[test]
    fn temperature_zero_takes_the_best_and_the_lower_id_among_equals() {
        let best = sampler(&Sampling::default())
            .choose(&output(&[1.0, 3.0, 3.0]))
            .unwrap();
        assert_eq!((best.id, best.logit), (1, 3.0));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let counts = drawn(&ALL, &[0.0, 2_f32.ln(), f32::MIN, 5_f32.ln()]);
        assert_eq!(counts[2], 0);
        for (count, share) in [(counts[0], 0.125), (counts[1], 0.25), (counts[3], 0.625)] {
            assert!((count as f64 / 4000.0 - share).abs() < 0.03, "{counts:?}");
        }
    }

    #[test]
    fn each_filter_keeps_what_it_should() {
        let logits = [1.0, 4.0, 3.0, 2.0, 0.0];
        let kept = |sampling: Sampling| -> Vec<usize> {
            drawn(&sampling, &logits)
                .iter()
                .enumerate()
                .filter(|(_, n)| **n > 0)
                .map(|(id, _)| id)
                .collect()
        };
        assert_eq!(kept(Sampling { top_k: 2, ..ALL }), [1, 2]);
        assert_eq!(kept(Sampling { top_p: 0.7, ..ALL }), [1, 2]);
        assert_eq!(kept(Sampling { min_p: 0.1, ..ALL }), [1, 2, 3]);
    }

    /// The token that the filters leave when all candidates are put in order first.
    fn plainly(sampling: &Sampling, logits: &[f32]) -> u32 {
        let ids = logits.iter().zip(0..);
        let mut kept: Vec<Candidate> = ids.map(|(logit, id)| Candidate::new(id, *logit)).collect();
        kept.sort_by(Candidate::best_first);
        if sampling.top_k > 0 {
            kept.truncate(sampling.top_k);
        }
        let best = f64::from(kept[0].logit);
        let weight =
            |x: &Candidate, temperature: f64| libm::exp((f64::from(x.logit) - best) / temperature);
        let all: f64 = kept.iter().map(|x| weight(x, 1.0)).sum();
        let mut before = 0.0;
        kept.retain(|x| {
            let keep = before < all * f64::from(sampling.top_p) || sampling.top_p == 1.0;
            before += weight(x, 1.0);
            keep && weight(x, 1.0) >= f64::from(sampling.min_p)
        });
        let temperature = f64::from(sampling.temperature);
        let all: f64 = kept.iter().map(|x| weight(x, temperature)).sum();
        let mut point = SplitMix64::new(sampling.seed).unit() * all;
        let drawn = kept.iter().find(|x| {
            point -= weight(x, temperature);
            point < 0.0
        });
        drawn.unwrap_or(&kept[kept.len() - 1]).id
    }

    #[test]
    fn filters_keep_what_they_keep_of_an_ordered_list() {
        let mut random = SplitMix64::new(3);
        for seed in 0..500 {
            let logits: Vec<f32> = (0..400)
                .map(|_| (random.unit() * 12.0).round() as f32 / 2.0)
                .collect();
            let sampling = Sampling {
                top_k: [0, 1, 40, 500][seed as usize % 4],
                top_p: [1.0, 0.95, 0.5][seed as usize % 3],
                min_p: [0.0, 0.05, 0.3, 1.0][seed as usize / 4 % 4],
                temperature: 0.5 + seed as f32 / 250.0,
                seed,
                ..ALL
            };
            let token = sampler(&sampling).choose(&output(&logits)).unwrap();
            assert_eq!(token.id, plainly(&sampling, &logits), "{sampling:?}");
        }
    }

    #[test]
    fn a_stage_can_force_a_token_and_forbid_one() {
        let logits = [1.0, -4.0, 2.0];
        let force = |candidates: &mut Candidates| {
            candidates.change(|it| [f32::NEG_INFINITY, f32::INFINITY, it.logit][it.id as usize]);
        };
        for sampling in [
            ALL,
            Sampling { top_p: 0.5, ..ALL },
            Sampling { min_p: 0.1, ..ALL },
        ] {
            let token = sampler(&sampling).first(force).choose(&output(&logits));
            assert_eq!(token.unwrap().id, 1, "{sampling:?}");
        }
    }

    #[test]
    fn a_penalty_lowers_what_was_said_before() {
        let mut sampler = sampler(&Sampling::default().repeat_penalty(2.0));
        let logits = [3.0, 2.0, -1.0];
        for (id, logit) in [(0, 3.0), (1, 2.0), (0, 3.0)] {
            let chosen = sampler.choose(&output(&logits)).unwrap();
            assert_eq!((chosen.id, chosen.logit), (id, logit));
        }
        assert_eq!(sampler.want(), Want::Top(1 + Sampling::REPEAT_WINDOW));
    }

    #[test]
    fn no_more_logits_are_wanted_than_the_stages_need() {
        let want = |sampling: Sampling| sampler(&sampling).want();
        assert_eq!(want(Sampling::default()), Want::Top(1));
        assert_eq!(want(Sampling { top_k: 40, ..ALL }), Want::Top(40));
        assert_eq!(want(ALL), Want::Logits);
        let rarer = ALL.repeat_penalty(1.5).top_k(40);
        assert_eq!(want(rarer), Want::Top(40 + Sampling::REPEAT_WINDOW));
        assert_eq!(want(ALL.repeat_penalty(0.5).top_k(40)), Want::Logits);
        // A stage that does not say what it needs gets all.
        let own = sampler(&Sampling::default()).first(|_: &mut Candidates| {});
        assert_eq!(own.want(), Want::Logits);
    }

    #[test]
    fn what_is_chosen_among_some_tokens_is_the_same_by_their_best_as_by_all_logits() {
        let mut random = SplitMix64::new(5);
        let vocabulary = 4 * FEW;
        for seed in 0..200 {
            let logits: Vec<f32> = (0..vocabulary)
                .map(|_| (random.unit() * 12.0) as f32)
                .collect();
            let sampling = Sampling {
                temperature: [0.0, 0.7, 1.5][seed as usize % 3],
                top_k: [0, 1, 40][seed as usize / 3 % 3],
                repeat_penalty: [1.0, 1.3][seed as usize % 2],
                presence_penalty: [0.0, 0.5, -0.5][seed as usize / 2 % 3],
                logit_bias: vec![(3, 9.0), (40, -100.0)],
                seed,
                ..ALL
            };
            let one_in = [1, 2, 3, 5, 300][seed as usize % 5];
            let mut allowed = TokenSet::default();
            let ids = (0..vocabulary as u32).filter(|_| random.unit() < 1.0 / f64::from(one_in));
            ids.for_each(|id| allowed.insert(id));
            let mut by_all = sampler(&sampling);
            by_all.allow(Some(allowed.clone()));
            let mut by_best = by_all.clone();
            for _ in 0..3 {
                let given = match by_best.want() {
                    Want::Top(count) => {
                        let mut top = Vec::new();
                        Candidate::best_among(&logits, Some(&allowed), count, &mut top);
                        top.resize(count, Candidate::NONE);
                        Output {
                            logits: Vec::new(),
                            top,
                        }
                    }
                    _ => output(&logits),
                };
                let chosen = by_best.choose(&given).unwrap();
                assert_eq!(chosen, by_all.choose(&output(&logits)).unwrap());
                assert!(allowed.contains(chosen.id));
                assert_eq!(chosen.logit, logits[chosen.id as usize]);
            }
        }
    }

    #[test]
    fn what_may_not_come_next_may_be_damaged() {
        let mut allowed = TokenSet::default();
        [0, 2].into_iter().for_each(|id| allowed.insert(id));
        for sampling in [ALL, Sampling::default()] {
            let mut sampler = sampler(&sampling);
            sampler.allow(Some(allowed.clone()));
            let known = [0.5, f32::NAN, 0.25];
            assert!(sampler.clone().choose(&output(&known)).is_ok());
            let damaged = sampler.choose(&output(&[0.5, 1.0, f32::NAN]));
            assert!(matches!(damaged, Err(Error::DamagedLogits { id: 2 })));
        }
    }

    #[test]
    fn a_stage_of_ones_own_takes_part_in_its_place() {
        let logits = [3.0, 2.0, -1.0];
        let without_best = |candidates: &mut Candidates| candidates.retain(|it| it.id != 0);
        let mut first = Sampler::best().then(TopK(1)).first(without_best);
        assert_eq!(first.clone().choose(&output(&logits)).unwrap().id, 1);
        assert_eq!(first.choose(&output(&logits)).unwrap().id, 1);
        // Behind a filter that leaves nothing else, nothing is left.
        let mut behind = Sampler::best().then(TopK(1)).then(without_best);
        assert!(matches!(
            behind.choose(&output(&logits)),
            Err(Error::NoCandidate)
        ));
    }

    #[test]
    fn a_logit_that_is_not_finite_is_an_error() {
        for damage in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let listed = Output {
                logits: Vec::new(),
                top: vec![Candidate::new(1, damage), Candidate::new(0, 3.0)],
            };
            for output in [output(&[3.0, damage, 2.0]), listed] {
                for sampling in [ALL, Sampling::default()] {
                    let chosen = sampler(&sampling).choose(&output);
                    assert!(
                        matches!(chosen, Err(Error::DamagedLogits { id: 1 })),
                        "{damage}: {chosen:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn values_out_of_range_are_named() {
        let refused = |sampling: Sampling| match Sampler::new(&sampling) {
            Err(Error::Sampling(problem)) => problem,
            other => panic!("{other:?}"),
        };
        assert!(refused(ALL.top_p(0.0)).contains("top-p is 0"));
        assert!(refused(ALL.temperature(f32::NAN)).contains("temperature"));
    }
}
