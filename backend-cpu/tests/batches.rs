//! Whatever a batch is made of, each token gets the logits that it gets alone.

use std::collections::BTreeMap;

use bitnet_backend_cpu::{CpuBackend, CpuOptions};
use bitnet_fixtures::{Noise, Transformer};
use bitnet_kernels::{
    Batch, CacheId, Format, Forward, Output, Segment, SharedCaches, Want, oracle,
};

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
        ..CpuOptions::default()
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
        let tokens = (0..LONGEST).map(|_| noise.below(MODEL.vocabulary as u32));
        Sequence::of(backend, tokens.collect())
    }

    fn of(backend: &mut CpuBackend, tokens: Vec<u32>) -> Sequence {
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

/// One sequence reads 100 tokens. Others begin like it, go on otherwise, and so does the first one
/// itself, from a place that they share: each gets what it gets alone.
#[test]
fn sequences_that_share_what_they_have_read_never_see_what_another_one_writes() {
    for threads in [1, 2] {
        let mut backend = load(Format::I2S, threads);
        let mut sequences: Vec<Sequence> = (0..4)
            .map(|seed| Sequence::new(&mut backend, seed))
            .collect();
        let first = sequences[0].tokens.clone();
        // How many tokens each has in common with the first.
        let common = [100, 64, 100, 37];
        for (sequence, common) in sequences.iter_mut().zip(common).skip(1) {
            let tokens = [&first[..common], &sequence.tokens[common..]].concat();
            *sequence = Sequence::of(&mut backend, tokens);
        }
        let origin = backend.create_cache(LONGEST).expect("a cache");
        let pass = |backend: &mut CpuBackend, reads: &[(CacheId, &Sequence, usize, usize)]| {
            let mut case = Case::default();
            for &(cache, sequence, start, end) in reads {
                let len = end - start;
                let segment = Segment { cache, start, len };
                case.add(sequence, segment, 100, &mut Noise::new(1));
            }
            case.check(backend, Want::Logits, "shared");
        };
        pass(&mut backend, &[(origin, &sequences[0], 0, 100)]);
        let mut forks = Vec::new();
        for (sequence, tokens) in sequences.iter().zip(common).skip(1) {
            let fork = backend.fork_cache(origin, tokens, LONGEST);
            forks.push((fork.expect("a fork"), sequence, tokens));
        }
        let pages = |backend: &CpuBackend, cache| -> Vec<usize> {
            let parts = backend.cache_parts(cache).into_iter();
            parts.map(|part| part.name).collect()
        };
        let origins = pages(&backend, origin);
        assert_eq!(origins[..1], pages(&backend, forks[0].0)[..1]);
        assert_eq!(origins[..2], pages(&backend, forks[1].0)[..2]);
        // The first one goes back into what others have, and becomes like the last of them.
        let third = &sequences[3];
        let mut reads = vec![(origin, third, 37, 90)];
        reads.extend(
            forks
                .iter()
                .map(|(fork, sequence, start)| (*fork, *sequence, *start, 110)),
        );
        pass(&mut backend, &reads);
        let whole = pages(&backend, origin);
        for (at, (fork, ..)) in forks.iter().enumerate() {
            let shared = pages(&backend, *fork);
            let shared = shared.iter().filter(|page| whole.contains(page)).count();
            assert_eq!(shared, 0, "fork {at}");
        }
        // A fork of a fork, when those that it came from are gone.
        let (fork, sequence, _) = forks[1];
        let late = backend.fork_cache(fork, 105, LONGEST).expect("a fork");
        backend.drop_cache(origin);
        backend.drop_cache(fork);
        pass(&mut backend, &[(late, sequence, 105, LONGEST)]);
        // What was given back is there again where it is needed.
        backend.shrink_cache(late, 70);
        assert_eq!(pages(&backend, late).len(), 2);
        pass(&mut backend, &[(late, sequence, 70, LONGEST)]);
        assert!(backend.fork_cache(late, LONGEST + 1, 2 * LONGEST).is_err());
        assert!(backend.fork_cache(late, 10, 9).is_err());
        assert!(backend.fork_cache(origin, 1, 9).is_err());
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
