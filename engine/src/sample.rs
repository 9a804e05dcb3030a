//! From logits to the next token.

use std::cmp::Ordering;

use bitnet_kernels::{Candidate, Output, Want};

use crate::error::Error;

/// How the next token is chosen. The filters apply in the order of the fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Divides positive logits, and multiplies negative ones, of tokens among the last
    /// [`Sampling::REPEAT_WINDOW`]; 1 changes nothing.
    pub repeat_penalty: f32,
    /// Keeps only so many of the best; 0 keeps all.
    pub top_k: usize,
    /// Keeps the best whose probabilities just reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keeps those at least so probable as this share of the best's probability; 0 keeps all.
    pub min_p: f32,
    /// Divides logits before the draw; 0 takes the best.
    pub temperature: f32,
    /// Start of the random sequence. The same seed gives the same draw on every machine.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Sampling {
        Sampling {
            repeat_penalty: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            temperature: 0.0,
            seed: 0,
        }
    }
}

impl Sampling {
    /// Tokens that the repetition penalty looks back on.
    pub const REPEAT_WINDOW: usize = 64;

    /// What a value out of its range should have been, if there is one.
    pub fn check(&self) -> Result<(), String> {
        let Sampling {
            repeat_penalty,
            top_p,
            min_p,
            temperature,
            ..
        } = *self;
        if !(repeat_penalty.is_finite() && repeat_penalty > 0.0) {
            return Err(format!(
                "the repeat penalty is {repeat_penalty}; it must be above 0 (1 changes nothing)"
            ));
        }
        if !(0.0..=1.0).contains(&top_p) || top_p == 0.0 {
            return Err(format!(
                "top-p is {top_p}; it must be above 0 and at most 1 (1 keeps all)"
            ));
        }
        if !(0.0..=1.0).contains(&min_p) {
            return Err(format!(
                "min-p is {min_p}; it must be in 0 ..= 1 (0 keeps all)"
            ));
        }
        if !(temperature.is_finite() && temperature >= 0.0) {
            return Err(format!(
                "the temperature is {temperature}; it must be 0 or above (0 takes the best)"
            ));
        }
        Ok(())
    }
}

/// Chooses tokens, one after another.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    recent: Vec<u32>,
    random: SplitMix64,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler at the start of its random sequence.
    pub fn new(sampling: Sampling) -> Sampler {
        let random = SplitMix64(sampling.seed);
        Sampler {
            sampling,
            recent: Vec::with_capacity(Sampling::REPEAT_WINDOW),
            random,
            candidates: Vec::new(),
        }
    }

    /// What to ask of a forward pass, as little as possible.
    pub fn want(&self) -> Want {
        let Sampling {
            temperature,
            top_k,
            repeat_penalty,
            ..
        } = self.sampling;
        let best = if temperature == 0.0 { 1 } else { top_k };
        // Penalties of at least 1 only lower logits, of at most as many tokens as the window holds.
        match (best, repeat_penalty) {
            (0, _) => Want::Logits,
            (best, 1.0) => Want::Top(best),
            (best, penalty) if penalty > 1.0 => Want::Top(best + Sampling::REPEAT_WINDOW),
            _ => Want::Logits,
        }
    }

    /// Notes a token of the prompt, for the repetition penalty.
    pub fn accept(&mut self, token: u32) {
        if self.recent.len() == Sampling::REPEAT_WINDOW {
            self.recent.remove(0);
        }
        self.recent.push(token);
    }

    /// Chooses the next token from what [`Sampler::want`] asked for, and notes it.
    pub fn next(&mut self, output: &Output) -> Result<u32, Error> {
        self.candidates.clear();
        if output.top.is_empty() {
            let all = output.logits.iter().enumerate();
            self.candidates.extend(all.map(|(id, logit)| Candidate {
                id: id as u32,
                logit: *logit,
            }));
        } else {
            self.candidates.extend_from_slice(&output.top);
        }
        self.candidates
            .retain(|candidate| candidate.logit > f32::NEG_INFINITY);
        self.penalise();
        let best = self.candidates.iter().copied().min_by(best_first);
        let best = best.ok_or(Error::NoLogits)?;
        let token = if self.sampling.temperature == 0.0 {
            best.id
        } else {
            self.draw(best)
        };
        self.accept(token);
        Ok(token)
    }

    fn penalise(&mut self) {
        let penalty = self.sampling.repeat_penalty;
        if penalty == 1.0 {
            return;
        }
        for candidate in &mut self.candidates {
            if self.recent.contains(&candidate.id) {
                candidate.logit *= if candidate.logit > 0.0 {
                    1.0 / penalty
                } else {
                    penalty
                };
            }
        }
    }

    /// Each filter keeps a beginning of the order from best to worst, so that only what the
    /// cheapest of them leave needs to be put in order.
    fn draw(&mut self, first: Candidate) -> u32 {
        let Sampling {
            top_k,
            top_p,
            min_p,
            temperature,
            ..
        } = self.sampling;
        if top_k > 0 && top_k < self.candidates.len() {
            self.candidates
                .select_nth_unstable_by(top_k - 1, best_first);
            self.candidates.truncate(top_k);
        }
        let best = f64::from(first.logit);
        let weight = |candidate: &Candidate, temperature: f64| {
            libm::exp((f64::from(candidate.logit) - best) / temperature)
        };
        let all: f64 = match top_p < 1.0 {
            true => self.candidates.iter().map(|x| weight(x, 1.0)).sum(),
            false => 0.0,
        };
        // A little less than what the exact comparison asks for, which would have to be made for
        // every candidate.
        let least = best + libm::log(f64::from(min_p)) - 1e-6;
        self.candidates.retain(|candidate| {
            f64::from(candidate.logit) >= least && weight(candidate, 1.0) >= f64::from(min_p)
        });
        self.candidates.sort_unstable_by(best_first);
        if top_p < 1.0 {
            let mut sum = 0.0;
            let kept = self.candidates.iter().position(|candidate| {
                sum += weight(candidate, 1.0);
                sum >= all * f64::from(top_p)
            });
            self.candidates
                .truncate(kept.map_or(usize::MAX, |last| last + 1));
        }
        let temperature = f64::from(temperature);
        let total: f64 = self
            .candidates
            .iter()
            .map(|candidate| weight(candidate, temperature))
            .sum();
        let mut point = self.random.unit() * total;
        for candidate in &self.candidates {
            point -= weight(candidate, temperature);
            if point < 0.0 {
                return candidate.id;
            }
        }
        // Rounding can leave a sliver behind the last one; an infinite logit leaves none.
        self.candidates.last().unwrap_or(&first).id
    }
}

/// The larger logit first, of equal ones the lower id.
fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Sebastiano Vigna's SplitMix64: small, and the same on every machine and in every version.
#[derive(Clone, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    /// A number in `0.0 .. 1.0`.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
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

    fn drawn(sampling: &Sampling, logits: &[f32]) -> Vec<usize> {
        let mut counts = vec![0; logits.len()];
        let mut sampler = Sampler::new(sampling.clone());
        for _ in 0..4000 {
            sampler.recent.clear();
            counts[sampler.next(&output(logits)).unwrap() as usize] += 1;
        }
        counts
    }

    const ALL: Sampling = Sampling {
        repeat_penalty: 1.0,
        top_k: 0,
        top_p: 1.0,
        min_p: 0.0,
        temperature: 1.0,
        seed: 7,
    };

    #[test]
    fn temperature_zero_takes_the_best_and_the_lower_id_among_equals() {
        let mut sampler = Sampler::new(Sampling::default());
        assert_eq!(sampler.next(&output(&[1.0, 3.0, 3.0])).unwrap(), 1);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let counts = drawn(&ALL, &[0.0, 2_f32.ln(), f32::NEG_INFINITY, 5_f32.ln()]);
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
        let mut kept: Vec<Candidate> = ids
            .map(|(logit, id)| Candidate { id, logit: *logit })
            .collect();
        kept.sort_by(best_first);
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
        let mut point = SplitMix64(sampling.seed).unit() * all;
        let drawn = kept.iter().find(|x| {
            point -= weight(x, temperature);
            point < 0.0
        });
        drawn.unwrap_or(&kept[kept.len() - 1]).id
    }

    #[test]
    fn filters_keep_what_they_keep_of_an_ordered_list() {
        let mut random = SplitMix64(3);
        for seed in 0..500 {
            let logits: Vec<f32> = (0..200)
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
            let token = Sampler::new(sampling.clone()).next(&output(&logits));
            assert_eq!(token.unwrap(), plainly(&sampling, &logits), "{sampling:?}");
        }
    }

    #[test]
    fn an_infinite_logit_is_taken() {
        let logits = [1.0, f32::INFINITY, 2.0];
        assert_eq!(Sampler::new(ALL).next(&output(&logits)).unwrap(), 1);
    }

    #[test]
    fn a_penalty_lowers_what_was_said_before() {
        let mut sampler = Sampler::new(Sampling {
            repeat_penalty: 2.0,
            ..Sampling::default()
        });
        let logits = [3.0, 2.0, -1.0];
        assert_eq!(sampler.next(&output(&logits)).unwrap(), 0);
        assert_eq!(sampler.next(&output(&logits)).unwrap(), 1);
        assert_eq!(sampler.next(&output(&logits)).unwrap(), 0);
        assert_eq!(sampler.want(), Want::Top(1 + Sampling::REPEAT_WINDOW));
    }

    #[test]
    fn logits_without_a_number_are_an_error() {
        let mut sampler = Sampler::new(ALL);
        assert!(matches!(
            sampler.next(&output(&[f32::NAN; 3])),
            Err(Error::NoLogits)
        ));
    }

    #[test]
    fn values_out_of_range_are_named() {
        assert!(ALL.check().is_ok());
        assert!(
            Sampling { top_p: 0.0, ..ALL }
                .check()
                .unwrap_err()
                .contains("top-p is 0")
        );
        assert!(
            Sampling {
                temperature: f32::NAN,
                ..ALL
            }
            .check()
            .is_err()
        );
    }
}
