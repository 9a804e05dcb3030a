//! Sequences of a model of each architecture, those that keep a state included: however they got
//! where they are, they give the bits of a new one that has read the same tokens.

use std::path::Path;
use std::sync::Arc;

use bitnet_engine::gguf::Gguf;
use bitnet_engine::kernels::{BackendError, Batch, Segment};
use bitnet_engine::{CacheType, Device, Error, Isa, LoadOptions, Model, Output, Session, Want};

const LEN: usize = 70;

/// A model of each architecture, in the types of its linear layers.
const MODELS: [&str; 13] = [
    "b158-i2_s",
    "bitnet-tq1_0",
    "llama-linear-tq2_0",
    "llama-tq1_0-q4k",
    "qwen3-yarn-tq2_0",
    "qwen3-q2_0",
    "qwen3-q1_0",
    "minicpm-long-tq2_0",
    "hunyuan-tq2_0",
    "maple-tq2_0",
    "qwen35-f32",
    "qwen35-q2_0",
    "qwen35-q2_0-emb",
];

fn golden(name: &str) -> Arc<Gguf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    Arc::new(Gguf::open(folder.join(format!("{name}.gguf"))).unwrap())
}

/// Of the model that keeps a state and has least to compute.
fn file() -> Arc<Gguf> {
    golden("qwen35-f32")
}

fn model(file: &Arc<Gguf>, batch: usize) -> Model {
    let options = LoadOptions::default().device(Device::Cpu).batch(batch);
    Model::load(Arc::clone(file), &options).unwrap()
}

/// Tokens of every vocabulary here.
fn tokens() -> Vec<u32> {
    (0..LEN as u32).map(|i| (5 * i * i + i + 3) % 80).collect()
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// The logits behind the last of `tokens`.
fn fed(session: &mut Session, tokens: &[u32]) -> Vec<u32> {
    let mut out = Output::default();
    session.feed(tokens, Want::Logits, &mut out).unwrap();
    bits(&out.logits)
}

fn fresh(model: &Model, tokens: &[u32]) -> Vec<u32> {
    fed(&mut model.session(LEN).unwrap(), tokens)
}

#[test]
fn the_bits_do_not_depend_on_cuts_threads_or_instruction_sets() {
    let tokens = tokens();
    for (name, file) in MODELS.map(|name| (name, golden(name))) {
        let wanted = fresh(&model(&file, 512), &tokens);
        assert!(wanted.iter().any(|bits| *bits != wanted[0]));
        for batch in [3, 69] {
            let found = fresh(&model(&file, batch), &tokens);
            assert!(found == wanted, "{name}, batch {batch}");
        }
        // The digests of golden models hold every instruction set to the same bits.
        let keeps_state = model(&file, 1).session(1).unwrap().keeps_state();
        for isa in Isa::available().into_iter().filter(|_| keeps_state) {
            for threads in [1, 3] {
                let options = LoadOptions::default().device(Device::Cpu);
                let options = options.isa(isa).threads(threads).batch(19);
                let model = Model::load(Arc::clone(&file), &options).unwrap();
                let found = fresh(&model, &tokens);
                assert!(found == wanted, "{name}, {isa}, {threads} threads");
            }
        }
    }
}

#[test]
fn a_session_truncated_anywhere_gives_what_a_new_one_gives() {
    let tokens = tokens();
    let file = file();
    for (batch, checkpoints) in [(512, &[][..]), (16, &[1, 30, 31, 60]), (7, &[40])] {
        let model = model(&file, batch);
        let lengths = [0, 1, 29, 30, 35, 69];
        truncated_again_and_again("qwen35-f32", &model, &tokens, checkpoints, &lengths);
    }
    for name in MODELS {
        let model = model(&golden(name), 16);
        truncated_again_and_again(name, &model, &tokens, &[31], &[1, 35]);
    }
}

/// Reads `tokens` with checkpoints on the way, goes back to each of `lengths`, and reads others.
fn truncated_again_and_again(
    name: &str,
    model: &Model,
    tokens: &[u32],
    checkpoints: &[usize],
    lengths: &[usize],
) {
    let mut session = model.session(LEN).unwrap();
    for len in lengths.iter().copied() {
        // Other tokens behind what will be left, so that what stays of them would show.
        let mut at = session.len();
        for end in checkpoints.iter().copied().chain([LEN]) {
            if end > at {
                fed(&mut session, &tokens[at..end]);
                session.checkpoint().unwrap();
                at = end;
            }
        }
        session.truncate(len);
        assert_eq!(session.len(), len);
        let other: Vec<u32> = tokens[len..].iter().rev().copied().collect();
        let whole = [&tokens[..len], &other].concat();
        let found = fed(&mut session, &other);
        let batch = model.batch();
        assert!(
            found == fresh(model, &whole),
            "{name}: cut at {len}, batch {batch}"
        );
        session.truncate(len);
    }
}

#[test]
fn sequences_side_by_side_may_have_been_truncated() {
    let tokens = tokens();
    for name in MODELS {
        let model = model(&golden(name), 16);
        let mut sessions: Vec<Session> = (0..3).map(|_| model.session(LEN).unwrap()).collect();
        for (session, (read, left)) in sessions.iter_mut().zip([(20, 20), (40, 11), (60, 0)]) {
            fed(session, &tokens[..read]);
            session.truncate(left);
        }
        let mut out = Output::default();
        let mut read = [20, 11, 0].map(|left| tokens[..left].to_vec());
        // The second step goes on from what the first left.
        for next in [[5, 6, 7], [70, 5, 5]] {
            model
                .step(&mut sessions, &next, Want::Logits, &mut out)
                .unwrap();
            let rows = out.logits.chunks(model.config().vocabulary);
            for ((row, read), token) in rows.zip(&mut read).zip(next) {
                read.push(token);
                assert!(bits(row) == fresh(&model, read), "{name}, {}", read.len());
            }
        }
    }
}

#[test]
fn a_refused_batch_leaves_the_state_as_it_was() {
    let (file, tokens) = (file(), tokens());
    let model = model(&file, 16);
    let mut session = model.session(LEN).unwrap();
    fed(&mut session, &tokens[..30]);
    // The second batch of them is refused, so that the first was read.
    let bad = [&tokens[30..50], &[9999]].concat();
    let refused = session.feed(&bad, Want::Nothing, &mut Output::default());
    assert!(
        matches!(refused, Err(Error::Backend(BackendError::Batch(_)))),
        "{refused:?}"
    );
    assert_eq!(session.len(), 46);
    session.truncate(30);
    let found = fed(&mut session, &tokens[30..]);
    assert!(found == fresh(&model, &tokens));
}

#[test]
fn a_device_says_that_a_state_cannot_be_continued_elsewhere() {
    let (file, tokens) = (file(), tokens());
    let model = model(&file, 512);
    model.with_backend(|backend| {
        let cache = backend.create_cache(LEN).unwrap();
        let mut read = |start: usize, end: usize| {
            let batch = Batch {
                tokens: &tokens[start..end],
                segments: &[Segment {
                    cache,
                    start,
                    len: end - start,
                }],
                selected: &[],
            };
            backend.forward(&batch, Want::Nothing, &mut Output::default())
        };
        read(0, 9).unwrap();
        let problem = read(8, 9).unwrap_err();
        let BackendError::NoWayBack { stands, start, .. } = problem else {
            panic!("{problem}");
        };
        assert_eq!((stands, start), (Some(9), 8));
        read(9, 12).unwrap();
    });
}

#[test]
fn keys_and_values_may_be_kept_in_either_type() {
    let (file, tokens) = (file(), tokens());
    let options = LoadOptions::default().device(Device::Cpu);
    let model = Model::load(file, &options.cache_type(CacheType::F32)).unwrap();
    let mut session = model.session(LEN).unwrap();
    fed(&mut session, &tokens[..50]);
    session.truncate(20);
    assert!(fed(&mut session, &tokens[20..]) == fresh(&model, &tokens));
}
