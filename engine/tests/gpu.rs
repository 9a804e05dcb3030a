//! The engine on a GPU: against the references' logits, against the CPU, and against itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitnet_engine::gguf::Gguf;
use bitnet_engine::kernels::Forward;
use bitnet_engine::kernels::oracle::argmax;
use bitnet_engine::kernels::split::Split;
use bitnet_engine::{
    CacheType, Device, Engine, GenerateOptions, LoadOptions, Model, Output, Want, compare, device,
    plan,
};
use libtest_mimic::{Arguments, Trial};

const PROMPT: [u32; 24] = [
    1, 5, 17, 200, 33, 7, 450, 99, 12, 401, 3, 88, 256, 300, 42, 42, 42, 9, 310, 77, 128, 64, 500,
    2,
];

/// The references' distance to themselves on these models (`fixtures/golden/README.md`): our CPU's
/// distance to them is held to it, and so are the GPU's, to them and to our CPU.
const NOISE_MSE: f64 = 7e-5;

/// Tokens of the golden models.
const VOCABULARY: usize = 512;

/// Two logits this near may change places by one rounding of an activation.
const NEAR_TIE: f32 = 0.05;

/// The same for the demo model, whose logits have a variance of 27.
const DEMO_NEAR_TIE: f32 = 0.5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Logits after each of `tokens`, read `batch` at a time.
fn logits(
    path: &Path,
    tokens: &[u32],
    device: Device,
    cache_type: CacheType,
    batch: usize,
) -> (Vec<f32>, usize) {
    let gguf = Arc::new(Gguf::open(path).expect("the model opens"));
    let options = LoadOptions::default()
        .device(device)
        .cache_type(cache_type)
        .batch(batch);
    let model = Model::load(gguf, &options).expect("the model loads");
    let mut session = model.session(tokens.len()).expect("a session starts");
    let mut all = Vec::new();
    session
        .feed_all(tokens, |_, row| all.extend_from_slice(row))
        .expect("the tokens are read");
    (all, model.config().vocabulary)
}

fn mean_mse(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>() / a.len() as f64
}

fn read_f32(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

/// The prompt, and the tokens that the reference chose after it: there is a row of logits for each.
fn with_greedy(prompt: &[u32], theirs: &[f32], vocabulary: usize) -> Vec<u32> {
    let chosen = theirs.chunks(vocabulary).skip(prompt.len() - 1).map(argmax);
    let rows = theirs.len() / vocabulary;
    prompt.iter().copied().chain(chosen).take(rows).collect()
}

fn golden_models_stay_within_the_noise_of_their_references_and_of_our_cpu() {
    for (model, reference, cache_type) in [
        ("b158-i2_s", "hf", CacheType::F32),
        ("llama-i2_s", "bitnet-cpp", CacheType::F16),
        ("bitnet-i2_s", "bitnet-cpp", CacheType::F16),
        ("llama-tq1_0", "llama-cpp", CacheType::F16),
        ("llama-tq2_0", "llama-cpp", CacheType::F16),
        ("bitnet-tq1_0", "llama-cpp", CacheType::F16),
        ("bitnet-tq2_0", "llama-cpp", CacheType::F16),
    ] {
        let folder = root().join("fixtures/golden");
        let path = folder.join(format!("{model}.gguf"));
        let theirs = read_f32(&folder.join(format!("{model}.{reference}.logits.f32")));
        let tokens = with_greedy(&PROMPT, &theirs, VOCABULARY);
        let (gpu, vocabulary) = logits(&path, &tokens, Device::Gpu(None), cache_type, 512);
        let (cpu, _) = logits(&path, &tokens, Device::Cpu, cache_type, 512);
        assert_eq!(vocabulary, VOCABULARY);
        let (to_them, to_cpu) = (mean_mse(&gpu, &theirs), mean_mse(&gpu, &cpu));
        println!("{model}: mean MSE {to_them:.2e} to {reference}, {to_cpu:.2e} to our CPU");
        assert!(to_them <= NOISE_MSE && to_cpu <= NOISE_MSE, "{model}");
        for (row, (gpu, cpu)) in gpu
            .chunks(vocabulary)
            .zip(cpu.chunks(vocabulary))
            .enumerate()
        {
            let (a, b) = (argmax(gpu) as usize, argmax(cpu) as usize);
            assert!(
                a == b || cpu[b] - cpu[a] <= NEAR_TIE,
                "{model}, row {row}: {a} on the GPU, {b} on the CPU, {} apart",
                cpu[b] - cpu[a]
            );
        }
    }
}

fn the_demo_model_gives_the_same_bits_for_every_batch_split_and_run() {
    let path = root().join("demo/demo.gguf");
    let tokens: Vec<u32> = (0..300).map(|i| (i * i + 7 * i) % 1000).collect();
    for count in [1, 2, 63, 64, 65, 300] {
        let run = |batch| {
            logits(
                &path,
                &tokens[..count],
                Device::Gpu(None),
                CacheType::F16,
                batch,
            )
        };
        let (whole, vocabulary) = run(512);
        for batch in [512, 1, 7, 64] {
            assert!(run(batch).0 == whole, "{count} tokens, {batch} at a time");
        }
        let (cpu, _) = logits(&path, &tokens[..count], Device::Cpu, CacheType::F16, 512);
        let last = count * vocabulary - vocabulary;
        let (gpu, cpu) = (&whole[last..], &cpu[last..]);
        let (a, b) = (argmax(gpu) as usize, argmax(cpu) as usize);
        assert!(
            a == b || cpu[b] - cpu[a] <= DEMO_NEAR_TIE,
            "{count} tokens: {a} on the GPU, {b} on the CPU"
        );
    }
}

fn the_demo_model_is_the_transformers_implementation() {
    let path = root().join("demo/demo.gguf");
    let theirs = read_f32(&root().join("demo/demo.hf.logits.f32"));
    let prompt = [859, 26, 199, 462, 360, 349];
    let tokens = with_greedy(&prompt, &theirs, 1024);
    let (gpu, vocabulary) = logits(&path, &tokens, Device::Gpu(None), CacheType::F32, 512);
    let mse = mean_mse(&gpu, &theirs);
    println!("demo: mean MSE {mse:.2e} to hf");
    // The logits' variance is 27.
    assert!(mse <= 1e-3, "mean MSE {mse:e}");
    for (row, (gpu, theirs)) in gpu
        .chunks(vocabulary)
        .zip(theirs.chunks(vocabulary))
        .enumerate()
        .skip(prompt.len() - 1)
    {
        let (a, b) = (argmax(gpu) as usize, argmax(theirs) as usize);
        let near = theirs[b] - theirs[a] <= DEMO_NEAR_TIE;
        assert!(a == b || near, "row {row}: {a} on the GPU, {b} by hf");
    }
}

fn every_operation_of_the_golden_models_does_what_the_cpu_does() {
    for (model, cache_type) in [
        ("b158-i2_s", CacheType::F32),
        ("bitnet-i2_s", CacheType::F16),
        ("llama-tq1_0", CacheType::F16),
        ("bitnet-tq2_0", CacheType::F16),
    ] {
        let path = root().join(format!("fixtures/golden/{model}.gguf"));
        let gguf = Arc::new(Gguf::open(path).expect("the model opens"));
        let options = LoadOptions::default()
            .device(Device::Gpu(None))
            .cache_type(cache_type);
        let comparison = compare(gguf, &options, &PROMPT).expect("both run");
        let apart = comparison.first_apart();
        assert!(apart.is_none(), "{model}: {apart:?}");
    }
}

fn wherever_the_gpu_hands_over_to_the_cpu_the_logits_stay_near_those_of_both() {
    let path = root().join("fixtures/golden/b158-i2_s.gguf");
    let gguf = Arc::new(Gguf::open(&path).expect("the model opens"));
    let plan = plan::plan(&gguf, CacheType::F16).expect("one of ours");
    let (cpu, _) = logits(&path, &PROMPT, Device::Cpu, CacheType::F16, 512);
    for point in [
        "embed",
        "linear#1",
        "attention#1",
        "norm#3",
        "gated_linear#1",
        "head",
        "end",
    ] {
        let until = plan.program.find_op(point).expect("it is there");
        let program = || plan.program.clone();
        let gpu = bitnet_engine::gpu::WgpuBackend::load(
            program(),
            gguf.clone(),
            bitnet_engine::gpu::WgpuOptions::default(),
        );
        let rest = bitnet_engine::cpu::CpuBackend::load(
            program(),
            gguf.clone(),
            bitnet_engine::cpu::CpuOptions::default(),
        );
        let mut split = Split::new(
            Box::new(gpu.expect("a GPU")),
            Box::new(rest.expect("a CPU")),
            until,
        );
        let cache = split.create_cache(PROMPT.len()).expect("a cache");
        let selected: Vec<u32> = (0..PROMPT.len() as u32).collect();
        let segments = [bitnet_engine::kernels::Segment {
            cache,
            start: 0,
            len: PROMPT.len(),
        }];
        let batch = bitnet_engine::kernels::Batch {
            tokens: &PROMPT,
            segments: &segments,
            selected: &selected,
        };
        let mut out = Output::default();
        split
            .forward(&batch, Want::Logits, &mut out)
            .expect("the tokens are read");
        let mse = mean_mse(&out.logits, &cpu);
        println!("handed over at {point}: mean MSE {mse:.2e} to the CPU");
        assert!(mse <= NOISE_MSE, "handed over at {point}: {mse:e}");
    }
}

fn a_decode_step_reads_back_the_best_ids() {
    let gguf = Arc::new(Gguf::open(root().join("demo/demo.gguf")).expect("the demo opens"));
    let options = LoadOptions::default().device(Device::Gpu(None));
    let model = Model::load(gguf, &options).expect("the demo loads");
    let mut session = model.session(16).expect("a session starts");
    let mut out = Output::default();
    session
        .feed(&[859, 26, 199], Want::Top(1), &mut out)
        .expect("the prompt is read");
    assert_eq!(out.top.len(), 1);
    assert!(out.logits.is_empty());
    let names: Vec<_> =
        model.with_backend(|backend| backend.recorder().counts().map(|(name, _)| name).collect());
    assert!(names.contains(&"wgsl_top_merge"), "{names:?}");
}

/// Without guesses and with them, whatever ends the answer.
fn an_answer_without_chance_is_the_same_in_fewer_submissions() {
    let options = LoadOptions::default().device(Device::Gpu(None));
    let engine = Engine::open(root().join("demo/demo.gguf"), &options).expect("the demo opens");
    let prompt = "ROMEO:\nWhat light";
    let ids = engine.encode(prompt).expect("a prompt").tokens;
    let mut session = engine.model().session(200).expect("a session");
    let mut out = Output::default();
    session
        .feed(&ids, Want::Top(1), &mut out)
        .expect("the prompt is read");
    let mut wanted = Vec::new();
    for _ in 0..60 {
        let token = out.top[0].id;
        wanted.push(token);
        session
            .feed(&[token], Want::Top(1), &mut out)
            .expect("a token is read");
    }
    for guesses in [0, GenerateOptions::SPECULATE] {
        let plain = GenerateOptions::default().speculate(guesses);
        for options in [
            plain.clone().max_tokens(60),
            plain.clone().max_tokens(60).stop("not so"),
            plain.max_tokens(3),
        ] {
            let traffic = || engine.model().with_backend(|backend| backend.traffic());
            let before = traffic().expect("a device of its own");
            let mut generation = engine.generate(prompt, &options).expect("it begins");
            for piece in &mut generation {
                piece.expect("a piece");
            }
            let found = &generation.generated().tokens;
            assert_eq!(found[..], wanted[..found.len()], "{options:?}");
            let submissions = (traffic().expect("the same") - before).submissions;
            let most = if found.len() == 60 {
                20
            } else {
                found.len() as u64
            };
            assert!(submissions <= most, "{submissions} for {}", found.len());
        }
    }
}

fn an_adapter_that_is_not_there_is_an_error_that_says_how_many_there_are() {
    let gguf = Arc::new(Gguf::open(root().join("demo/demo.gguf")).expect("the demo opens"));
    let options = LoadOptions::default().device(Device::Gpu(Some(99)));
    let Err(error) = Model::load(gguf, &options) else {
        panic!("there is no adapter 99");
    };
    assert!(error.to_string().contains("no adapter 99"), "{error}");
}

/// A test under its own name.
macro_rules! trial {
    ($test:ident) => {
        Trial::test(stringify!($test), || {
            $test();
            Ok(())
        })
    };
}

/// Without an adapter the tests that need one are counted as ignored, which the harness of the
/// compiler cannot do.
fn main() {
    let missing = device::gpus().is_empty();
    if missing {
        eprintln!("NOT RUN: no adapter; install libvulkan1 and mesa-vulkan-drivers");
    }
    let on_gpu = [
        trial!(golden_models_stay_within_the_noise_of_their_references_and_of_our_cpu),
        trial!(the_demo_model_gives_the_same_bits_for_every_batch_split_and_run),
        trial!(the_demo_model_is_the_transformers_implementation),
        trial!(every_operation_of_the_golden_models_does_what_the_cpu_does),
        trial!(wherever_the_gpu_hands_over_to_the_cpu_the_logits_stay_near_those_of_both),
        trial!(a_decode_step_reads_back_the_best_ids),
        trial!(an_answer_without_chance_is_the_same_in_fewer_submissions),
    ];
    let trials = on_gpu.map(|trial| trial.with_ignored_flag(missing));
    let anywhere = [trial!(
        an_adapter_that_is_not_there_is_an_error_that_says_how_many_there_are
    )];
    let trials = trials.into_iter().chain(anywhere).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
