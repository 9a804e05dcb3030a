//! The engine's own logits on the golden models are the bytes that `fixtures/golden/bits.sha256`
//! names: on every CPU, with each of its instruction sets. That makes any two machines that pass
//! equal to one another.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitnet_engine::CacheType;
use bitnet_engine::cpu::{CpuBackend, CpuOptions, Isa};
use bitnet_engine::gguf::Gguf;
use bitnet_engine::kernels::{Batch, Forward, Output, Segment, SharedWeights, Want, oracle};
use bitnet_engine::plan::plan;
use sha2::{Digest, Sha256};

/// The prompt of the golden files, which is read in one batch. Ids beyond a vocabulary begin anew.
const PROMPT: [u32; 24] = [
    1, 5, 17, 200, 33, 7, 450, 99, 12, 401, 3, 88, 256, 300, 42, 42, 42, 9, 310, 77, 128, 64, 500,
    2,
];
/// Tokens that follow it one at a time, the likeliest each time.
const GREEDY: usize = 16;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The golden models, then the demo model.
fn models() -> Vec<String> {
    let folder = root().join("fixtures/golden");
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let names = files.map(|file| file.expect("a file").file_name());
    let mut models: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.ends_with(".gguf"))
        .map(|name| format!("fixtures/golden/{name}"))
        .collect();
    models.sort();
    models.push("demo/demo.gguf".to_owned());
    models
}

/// The digest of the logits after each token, as little-endian f32.
fn digest(model: &str, cache_type: CacheType, isa: Isa, threads: usize) -> String {
    let gguf = Arc::new(Gguf::open(root().join(model)).expect("the model opens"));
    let plan = plan(&gguf, cache_type).expect("the model is one of ours");
    let weights: SharedWeights = gguf;
    let options = CpuOptions {
        threads: Some(threads),
        isa: Some(isa),
        ..CpuOptions::default()
    };
    let mut backend =
        CpuBackend::load(plan.program, weights, options).expect("the weights are there");
    let cache = backend
        .create_cache(PROMPT.len() + GREEDY)
        .expect("there is memory for a cache");
    let vocabulary = backend.program().vocabulary;
    let mut sha = Sha256::new();
    let mut read = |start: usize, tokens: &[u32]| {
        let segments = [Segment {
            cache,
            start,
            len: tokens.len(),
        }];
        let selected: Vec<u32> = (0..tokens.len() as u32).collect();
        let batch = Batch {
            tokens,
            segments: &segments,
            selected: &selected,
        };
        let mut out = Output::default();
        backend
            .forward(&batch, Want::Logits, &mut out)
            .expect("the tokens are read");
        for logit in &out.logits {
            sha.update(logit.to_le_bytes());
        }
        oracle::argmax(&out.logits[out.logits.len() - vocabulary..])
    };
    let mut next = read(0, &PROMPT.map(|id| id % vocabulary as u32));
    for step in 0..GREEDY {
        next = read(PROMPT.len() + step, &[next]);
    }
    sha.finalize().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes all");
        hex
    })
}

/// A line for each model and type of cache.
fn digests(isa: Isa, threads: usize) -> String {
    let mut lines = String::new();
    for model in models() {
        for (name, cache_type) in [("f16", CacheType::F16), ("f32", CacheType::F32)] {
            let digest = digest(&model, cache_type, isa, threads);
            writeln!(lines, "{digest}  {model} {name}").expect("a string takes all");
        }
    }
    lines
}

#[test]
fn the_logits_are_the_same_bytes_on_every_cpu_with_every_instruction_set() {
    let path = root().join("fixtures/golden/bits.sha256");
    let wanted = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let alone = Isa::available().into_iter().map(|isa| (isa, 1));
    for (isa, threads) in alone.chain([(Isa::best(), 2)]) {
        let ours = digests(isa, threads);
        assert!(
            ours == wanted,
            "the logits of {isa}, threads: {threads}, have other digests:\n{ours}\nwanted:\n{wanted}\n\
             When the order of a sum was changed on purpose, these lines belong in {}.",
            path.display()
        );
        println!(
            "{isa}, threads: {threads}: the {} digests hold",
            ours.lines().count()
        );
    }
}
