//! A program cut in two at every operation gives the bits of the whole.

use std::path::Path;
use std::sync::Arc;

use bitnet_engine::CacheType;
use bitnet_engine::cpu::{CpuBackend, CpuOptions, Isa};
use bitnet_engine::gguf::Gguf;
use bitnet_engine::kernels::split::Split;
use bitnet_engine::kernels::{Backend, Batch, Forward, Output, Segment, SharedWeights, Want};
use bitnet_engine::plan::{Plan, plan};

const PROMPT: [u32; 5] = [1, 5, 17, 200, 33];

fn open(name: &str) -> (Plan, SharedWeights) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden");
    let gguf = Arc::new(Gguf::open(folder.join(name)).expect("the model opens"));
    let plan = plan(&gguf, CacheType::F16).expect("the model is one of ours");
    (plan, gguf)
}

fn cpu(plan: &Plan, weights: &SharedWeights, isa: Isa) -> Box<dyn Backend> {
    let options = CpuOptions {
        threads: Some(1),
        isa: Some(isa),
        ..CpuOptions::default()
    };
    let backend = CpuBackend::load(plan.program.clone(), Arc::clone(weights), options);
    Box::new(backend.expect("the weights are there"))
}

/// The logits of a prompt of four tokens, and of one more token after it.
fn logits(backend: &mut dyn Forward, vocabulary: usize) -> Vec<f32> {
    // Ids beyond a small vocabulary begin anew.
    let prompt = PROMPT.map(|id| id % vocabulary as u32);
    let cache = backend.create_cache(8).expect("a cache");
    let mut all = Vec::new();
    for (start, tokens) in [(0, &prompt[..4]), (4, &prompt[4..])] {
        let segments = [Segment {
            cache,
            start,
            len: tokens.len(),
        }];
        let batch = Batch {
            tokens,
            segments: &segments,
            selected: &[tokens.len() as u32 - 1],
        };
        let mut out = Output::default();
        backend
            .forward(&batch, Want::Logits, &mut out)
            .expect("the tokens are read");
        all.extend(out.logits);
    }
    backend.drop_cache(cache);
    all
}

#[test]
fn wherever_the_cut_is_the_logits_are_the_same_bits() {
    let best = Isa::available()[0];
    for name in [
        "b158-i2_s.gguf",
        "llama-tq1_0.gguf",
        "minicpm-tq2_0.gguf",
        "hunyuan-tq2_0.gguf",
        "maple-tq2_0.gguf",
        "qwen35-q2_0-emb.gguf",
    ] {
        let (plan, weights) = open(name);
        let vocabulary = plan.program.vocabulary;
        let whole = logits(&mut *cpu(&plan, &weights, best), vocabulary);
        for until in 0..=plan.program.ops.len() {
            let mut split = Split::new(
                cpu(&plan, &weights, best),
                cpu(&plan, &weights, Isa::named("scalar").expect("always there")),
                until,
            );
            assert!(
                logits(&mut split, vocabulary) == whole,
                "{name}: cut at {}",
                plan.program.op_name(until)
            );
        }
    }
}

#[test]
fn operations_go_by_name_and_number() {
    let (plan, _) = open("b158-i2_s.gguf");
    let program = &plan.program;
    for index in 0..program.ops.len() {
        assert_eq!(program.find_op(&program.op_name(index)), Ok(index));
        assert_eq!(program.find_op(&index.to_string()), Ok(index));
    }
    assert_eq!(program.find_op("embed"), Ok(0));
    assert_eq!(program.find_op("end"), Ok(program.ops.len()));
    for (text, said) in [
        ("softmax", "there are attention, embed"),
        ("head#1", "is there 1 times"),
        ("attention#x", "attention#0 to attention#"),
        ("999", "operations"),
    ] {
        let problem = program.find_op(text).expect_err(text);
        assert!(problem.contains(said), "{problem}");
    }
}
