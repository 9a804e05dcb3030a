//! Sequences of a model that keeps a state: however they got where they are, they give the bits of
//! a new one that has read the same tokens.

use std::path::Path;
use std::sync::Arc;

use bitnet_engine::gguf::Gguf;
use bitnet_engine::kernels::{BackendError, Batch, Segment};
use bitnet_engine::{CacheType, Device, Error, Isa, LoadOptions, Model, Output, Session, Want};

const LEN: usize = 70;
const VOCABULARY: u32 = 80;

fn file() -> Arc<Gguf> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden/qwen35-f32.gguf");
    Arc::new(Gguf::open(golden).unwrap())
}

fn model(file: &Arc<Gguf>, batch: usize) -> Model {
    let options = LoadOptions::default().device(Device::Cpu).batch(batch);
    Model::load(Arc::clone(file), &options).unwrap()
}

fn tokens() -> Vec<u32> {
    (0..LEN as u32)
        .map(|i| (5 * i * i + i + 3) % VOCABULARY)
        .collect()
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
    let (file, tokens) = (file(), tokens());
    let wanted = fresh(&model(&file, 512), &tokens);
    assert!(wanted.iter().any(|bits| *bits != wanted[0]));
    for batch in [1, 3, 69] {
        assert!(fresh(&model(&file, batch), &tokens) == wanted, "{batch}");
    }
    for isa in Isa::available() {
        for threads in [1, 3] {
            let options = LoadOptions::default().device(Device::Cpu);
            let options = options.isa(isa).threads(threads).batch(19);
            let model = Model::load(Arc::clone(&file), &options).unwrap();
            assert!(fresh(&model, &tokens) == wanted, "{isa}, {threads} threads");
        }
    }
}

#[test]
fn a_session_truncated_anywhere_gives_what_a_new_one_gives() {
    let (file, tokens) = (file(), tokens());
    for (batch, checkpoints) in [(512, &[][..]), (16, &[1, 30, 31, 60]), (7, &[40])] {
        let model = model(&file, batch);
        let mut session = model.session(LEN).unwrap();
        for len in [0, 1, 29, 30, 35, 69] {
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
            assert!(
                found == fresh(&model, &whole),
                "cut at {len}, batch {batch}"
            );
            session.truncate(len);
        }
    }
}

#[test]
fn sequences_side_by_side_may_have_been_truncated() {
    let (file, tokens) = (file(), tokens());
    let model = model(&file, 16);
    let mut sessions: Vec<Session> = (0..3).map(|_| model.session(LEN).unwrap()).collect();
    for (session, (read, left)) in sessions.iter_mut().zip([(20, 20), (40, 11), (60, 0)]) {
        fed(session, &tokens[..read]);
        session.truncate(left);
    }
    let mut out = Output::default();
    model
        .step(&mut sessions, &[5, 6, 7], Want::Logits, &mut out)
        .unwrap();
    let rows = out.logits.chunks(model.config().vocabulary);
    for ((row, left), token) in rows.zip([20, 11, 0]).zip([5, 6, 7]) {
        let whole = [&tokens[..left], &[token]].concat();
        assert!(bits(row) == fresh(&model, &whole), "{left}");
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
