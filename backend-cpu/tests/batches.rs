//! Whatever a batch is made of, each token gets the logits that it gets alone.

use std::collections::BTreeMap;

use bitnet_backend_cpu::{CpuBackend, CpuOptions};
use bitnet_fixtures::{Noise, Transformer};
use bitnet_kernels::{Batch, CacheId, Format, Forward, Output, Segment, Want, oracle};

/// Enough rows in the head, and little of all else, so that pieces of every size come up.
const MODEL: Transformer = Transformer {
    layers: 1,
    ffn: 1280,
    heads: 2,
    kv_heads: 1,
    head_dim: 128,
    vocabulary: 2200,
    embedding: Format::F32,
    ..Transformer::TINY
};

/// The longest sequence.
const LONGEST: usize = 130;

fn load(linear: Format, threads: usize) -> CpuBackend {
    let (program, weights) = Transformer { linear, ..MODEL }.program();
    let options = CpuOptions {
        threads: Some(threads),
        isa: None,
    };
    CpuBackend::load(program, weights, options).expect("the program loads")
}

/// A sequence with the logits of each of its tokens, computed one at a time.
struct Sequence {
    tokens: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

impl Sequence {
    fn new(backend: &mut CpuBackend, seed: u64) -> Sequence {
        let mut noise = Noise::new(seed);
        let tokens: Vec<u32> = (0..LONGEST)
            .map(|_| noise.below(MODEL.vocabulary as u32))
            .collect();
        let cache = backend.create_cache(LONGEST).expect("a cache");
        let mut out = Output::default();
        let mut logits = Vec::new();
        for start in 0..LONGEST {
            let batch = Batch {
                tokens: &tokens[start..=start],
                segments: &[Segment {
                    cache,
                    start,
                    len: 1,
                }],
                selected: &[0],
            };
            backend
                .forward(&batch, Want::Logits, &mut out)
                .expect("one token");
            logits.push(out.logits.clone());
        }
        backend.drop_cache(cache);
        Sequence { tokens, logits }
    }
}

/// Tokens for one pass, and what is to come of it.
#[derive(Default)]
struct Case {
    tokens: Vec<u32>,
    segments: Vec<Segment>,
    selected: Vec<u32>,
    /// The logits that each selected token has alone.
    wanted: Vec<Vec<f32>>,
}

impl Case {
    /// Adds tokens of a sequence, a share of which, in percent, is selected.
    fn add(&mut self, sequence: &Sequence, segment: Segment, share: u32, noise: &mut Noise) {
        for position in segment.start..segment.start + segment.len {
            if noise.below(100) < share {
                self.selected.push(self.tokens.len() as u32);
                self.wanted.push(sequence.logits[position].clone());
            }
            self.tokens.push(sequence.tokens[position]);
        }
        self.segments.push(segment);
    }

    fn check(&self, backend: &mut CpuBackend, want: Want, what: &str) {
        let batch = Batch {
            tokens: &self.tokens,
            segments: &self.segments,
            selected: &self.selected,
        };
        let what = format!(
            "{what}: {want:?} of {} of {} tokens",
            self.selected.len(),
            self.tokens.len()
        );
        let mut out = Output::default();
        backend
            .forward(&batch, want, &mut out)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let bits = |logits: &[f32]| -> Vec<u32> { logits.iter().map(|x| x.to_bits()).collect() };
        match want {
            Want::Nothing => assert!(out.logits.is_empty() && out.top.is_empty(), "{what}"),
            Want::Logits => {
                assert!(bits(&out.logits) == bits(&self.wanted.concat()), "{what}");
            }
            Want::Top(k) => {
                let wanted = self.wanted.iter().flat_map(|logits| oracle::top(logits, k));
                assert_eq!(out.top, wanted.collect::<Vec<_>>(), "{what}");
            }
        }
    }
}

#[test]
fn a_token_has_the_same_logits_in_every_batch() {
    for linear in [Format::I2S, Format::TQ1_0, Format::Q8_0] {
        let mut one_by_one = load(linear, 1);
        let sequences: Vec<Sequence> = (0..3)
            .map(|seed| Sequence::new(&mut one_by_one, seed))
            .collect();
        for threads in [1, 2, 3] {
            let mut backend = load(linear, threads);
            let mut noise = Noise::new(threads as u64);
            for round in 0..15 {
                let mut caches: BTreeMap<usize, (CacheId, usize)> = BTreeMap::new();
                for pass in 0..2 {
                    let mut case = Case::default();
                    let share = [0, 1, 50, 60, 100][noise.below(5) as usize];
                    for (i, sequence) in sequences.iter().enumerate() {
                        if noise.below(3) == 0 {
                            continue;
                        }
                        let new = || (backend.create_cache(LONGEST).expect("a cache"), 0);
                        let (cache, start) = *caches.entry(i).or_insert_with(new);
                        let left = (LONGEST - start) as u32;
                        let most = [1, 8, 70, left][noise.below(4) as usize].min(left);
                        let len = noise.below(most + 1) as usize;
                        let segment = Segment { cache, start, len };
                        case.add(sequence, segment, share, &mut noise);
                        caches.insert(i, (cache, start + len));
                    }
                    let k = noise.below(60) as usize;
                    let want = [Want::Nothing, Want::Logits, Want::Top(k)];
                    let want = want[noise.below(3) as usize];
                    let what = format!("{linear}, {threads} threads, {round}, {pass}");
                    case.check(&mut backend, want, &what);
                }
                for (cache, _) in caches.into_values() {
                    backend.drop_cache(cache);
                }
            }
        }
    }
}

/// Pieces for few tokens have more rows than pieces for many: the logits of 60 of 100 tokens once
/// met memory for the pieces of 100.
#[test]
fn logits_of_some_of_many_tokens_fit_the_memory_of_a_piece() {
    let mut backend = load(Format::I2S, 1);
    let sequence = Sequence::new(&mut backend, 1);
    for (tokens, selected) in [(100, 60), (65, 64), (130, 17), (64, 64)] {
        // Memory grows from pass to pass: each case begins with none.
        let mut backend = load(Format::I2S, 1);
        let case = Case {
            tokens: sequence.tokens[..tokens].to_vec(),
            segments: vec![Segment {
                cache: backend.create_cache(tokens).expect("a cache"),
                start: 0,
                len: tokens,
            }],
            selected: (0..selected as u32).collect(),
            wanted: sequence.logits[..selected].to_vec(),
        };
        case.check(&mut backend, Want::Logits, "alone");
    }
}

#[test]
fn a_batch_that_is_not_valid_is_an_error_that_says_why() {
    let mut backend = load(Format::I2S, 1);
    let cache = backend.create_cache(5).expect("a cache");
    for (start, len, selected, said) in [
        (0, 6, &[0][..], "do not fit a cache of 5"),
        (usize::MAX, 2, &[0], "do not fit a cache of 5"),
        (0, 2, &[1, 0], "ascending"),
        (0, 2, &[1, 1], "ascending"),
        (0, 2, &[2], "selected row 2"),
    ] {
        let batch = Batch {
            tokens: &vec![1; len],
            segments: &[Segment { cache, start, len }],
            selected,
        };
        let problem = backend.forward(&batch, Want::Logits, &mut Output::default());
        let problem = problem.expect_err(said).to_string();
        assert!(problem.contains(said), "{problem}");
    }
}
