//! Several sequences in one forward pass.

use std::path::Path;
use std::sync::Arc;

use bitnet_engine::gguf::Gguf;
use bitnet_engine::{Device, LoadOptions, Model, Output, Session, Want};

const PROMPTS: [&[u32]; 5] = [
    &[859, 26, 199],
    &[462],
    &[360, 349, 12, 7],
    &[83, 419],
    &[1; 40],
];
const STEPS: u32 = 4;

fn started(model: &Model, prompt: &[u32]) -> Session {
    let mut session = model.session(64).unwrap();
    session
        .feed(prompt, Want::Nothing, &mut Output::default())
        .unwrap();
    session
}

#[test]
fn a_cache_that_does_not_fit_is_an_error() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/demo.gguf");
    let gguf = Arc::new(Gguf::open(demo).unwrap());
    let options = LoadOptions::default().device(Device::Cpu);
    let model = Model::load(gguf, &options).unwrap();
    for capacity in [1 << 44, usize::MAX / 2, usize::MAX] {
        let error = model.session(capacity).expect_err("nobody has so much");
        assert!(
            error.to_string().contains("out of memory on cpu"),
            "{error}"
        );
    }
    started(&model, &[1, 2]);
}

#[test]
fn a_sequence_gets_the_bits_that_it_gets_alone() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/demo.gguf");
    let gguf = Arc::new(Gguf::open(demo).unwrap());
    let options = LoadOptions::default().device(Device::Cpu);
    let model = Model::load(gguf, &options).unwrap();
    let vocabulary = model.config().vocabulary;
    let token = |step: u32, sequence: usize| step * 31 + sequence as u32;

    let mut alone = vec![Vec::new(); PROMPTS.len()];
    let mut out = Output::default();
    for (sequence, prompt) in PROMPTS.into_iter().enumerate() {
        let mut session = started(&model, prompt);
        for step in 0..STEPS {
            session
                .feed(&[token(step, sequence)], Want::Logits, &mut out)
                .unwrap();
            alone[sequence].extend_from_slice(&out.logits);
        }
    }

    let mut together = vec![Vec::new(); PROMPTS.len()];
    let mut sessions: Vec<Session> = PROMPTS
        .iter()
        .map(|prompt| started(&model, prompt))
        .collect();
    for step in 0..STEPS {
        let tokens: Vec<u32> = (0..PROMPTS.len())
            .map(|sequence| token(step, sequence))
            .collect();
        model
            .step(&mut sessions, &tokens, Want::Logits, &mut out)
            .unwrap();
        for (row, logits) in together.iter_mut().zip(out.logits.chunks_exact(vocabulary)) {
            row.extend_from_slice(logits);
        }
    }
    for (sequence, (alone, together)) in alone.iter().zip(&together).enumerate() {
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(alone) == bits(together), "sequence {sequence}");
    }
}
