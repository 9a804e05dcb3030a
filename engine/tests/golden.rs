//! The engine against logits that independent implementations gave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitnet_engine::gguf::{Array, Gguf, Value, Writer};
use bitnet_engine::{CacheType, Device, LoadOptions, Model, Output, Want};

const PROMPT: [u32; 24] = [
    1, 5, 17, 200, 33, 7, 450, 99, 12, 401, 3, 88, 256, 300, 42, 42, 42, 9, 310, 77, 128, 64, 500,
    2,
];
const GREEDY: usize = 16;

/// Distances of logits, position by position.
struct Distance {
    mean_mse: f64,
    lowest_cosine: f64,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the crate lies in the workspace")
        .to_owned()
}

fn read_f32(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes))
        .collect()
}

fn argmax(logits: &[f32]) -> u32 {
    bitnet_engine::kernels::oracle::argmax(logits)
}

fn distance(ours: &[f32], theirs: &[f32], vocabulary: usize) -> Distance {
    assert_eq!(ours.len(), theirs.len());
    let rows = ours.chunks(vocabulary).zip(theirs.chunks(vocabulary));
    let (mut mse, mut lowest_cosine, count) = (0.0, 1.0_f64, rows.len() as f64);
    for (a, b) in rows {
        let pairs = || a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
        let dot: f64 = pairs().map(|(a, b)| a * b).sum();
        let (aa, bb): (f64, f64) = (
            pairs().map(|(a, _)| a * a).sum(),
            pairs().map(|(_, b)| b * b).sum(),
        );
        lowest_cosine = lowest_cosine.min(dot / (aa * bb).sqrt());
        mse += pairs().map(|(a, b)| (a - b).powi(2)).sum::<f64>() / vocabulary as f64;
    }
    Distance {
        mean_mse: mse / count,
        lowest_cosine,
    }
}

/// Logits after each token of the prompt and after each of the reference's greedy tokens.
fn logits(
    model: &Path,
    prompt: &[u32],
    theirs: &[f32],
    cache_type: CacheType,
) -> (Vec<f32>, usize) {
    let gguf = Arc::new(Gguf::open(model).expect("a golden model opens"));
    let options = LoadOptions::default()
        .device(Device::Cpu)
        .cache_type(cache_type);
    let model = Model::load(gguf, &options).expect("a golden model loads");
    let vocabulary = model.config().vocabulary;
    let mut session = model
        .session(prompt.len() + GREEDY)
        .expect("a session starts");
    let mut ours = Vec::new();
    session
        .feed_all(prompt, |_, row| ours.extend_from_slice(row))
        .expect("the prompt is read");
    let mut out = Output::default();
    for step in 0..GREEDY {
        let row = prompt.len() - 1 + step;
        let token = argmax(&theirs[row * vocabulary..(row + 1) * vocabulary]);
        session
            .feed(&[token], Want::Logits, &mut out)
            .expect("a token is read");
        ours.extend_from_slice(&out.logits);
    }
    (ours, vocabulary)
}

fn check(
    name: &str,
    reference: &str,
    cache_type: CacheType,
    mse: f64,
    cosine: f64,
) -> (Vec<f32>, Vec<f32>) {
    let folder = root().join("fixtures/golden");
    let theirs = read_f32(&folder.join(format!("{name}.{reference}.logits.f32")));
    let (ours, vocabulary) = logits(
        &folder.join(format!("{name}.gguf")),
        &PROMPT,
        &theirs,
        cache_type,
    );
    let distance = distance(&ours, &theirs, vocabulary);
    println!(
        "{name} against {reference}: mean MSE {:.2e}, lowest cosine {:.6}",
        distance.mean_mse, distance.lowest_cosine
    );
    assert!(
        distance.mean_mse <= mse,
        "mean MSE {:e} of {name}",
        distance.mean_mse
    );
    assert!(
        distance.lowest_cosine >= cosine,
        "lowest cosine {} of {name}",
        distance.lowest_cosine
    );
    (ours, theirs)
}

/// The references' distance to themselves on these models (`fixtures/golden/README.md`).
const NOISE_MSE: f64 = 7e-5;
const COSINE: f64 = 0.999;

#[test]
fn b158_i2_s_is_the_transformers_implementation() {
    let (ours, theirs) = check("b158-i2_s", "hf", CacheType::F32, 2e-5, COSINE);
    for (ours, theirs) in ours
        .chunks(512)
        .zip(theirs.chunks(512))
        .skip(PROMPT.len() - 1)
    {
        assert_eq!(argmax(ours), argmax(theirs));
    }
}

#[test]
fn llama_i2_s_is_within_the_noise_of_bitnet_cpp() {
    check(
        "llama-i2_s",
        "bitnet-cpp",
        CacheType::F16,
        NOISE_MSE,
        COSINE,
    );
}

#[test]
fn bitnet_i2_s_is_within_the_noise_of_bitnet_cpp() {
    check(
        "bitnet-i2_s",
        "bitnet-cpp",
        CacheType::F16,
        NOISE_MSE,
        COSINE,
    );
}

#[test]
fn tq1_0_and_tq2_0_are_within_the_noise_of_llama_cpp_and_give_the_same_bits() {
    for model in ["llama", "bitnet"] {
        let one = check(
            &format!("{model}-tq1_0"),
            "llama-cpp",
            CacheType::F16,
            NOISE_MSE,
            COSINE,
        );
        let two = check(
            &format!("{model}-tq2_0"),
            "llama-cpp",
            CacheType::F16,
            NOISE_MSE,
            COSINE,
        );
        assert!(one.0 == two.0, "TQ1_0 and TQ2_0 of {model} differ");
    }
}

#[test]
fn the_demo_model_is_the_transformers_implementation() {
    let theirs = read_f32(&root().join("demo/demo.hf.logits.f32"));
    let prompt = [859, 26, 199, 462, 360, 349];
    let (ours, vocabulary) = logits(
        &root().join("demo/demo.gguf"),
        &prompt,
        &theirs,
        CacheType::F32,
    );
    let distance = distance(&ours, &theirs, vocabulary);
    println!("demo against hf: mean MSE {:.2e}", distance.mean_mse);
    // The logits' variance is 27.
    assert!(
        distance.mean_mse <= 1e-3,
        "mean MSE {:e}",
        distance.mean_mse
    );
    for (ours, theirs) in ours
        .chunks(vocabulary)
        .zip(theirs.chunks(vocabulary))
        .skip(prompt.len() - 1)
    {
        assert_eq!(argmax(ours), argmax(theirs));
    }
}

/// A prompt of `fixtures/golden/cases.json`, and how near its logits must come.
#[derive(serde::Deserialize)]
struct Case {
    tokens: Vec<u32>,
    vocabulary: usize,
    /// Of the reference's logits.
    variance: f64,
    /// The reference's distances to itself, as mean squared errors: in one batch, with flash
    /// attention, on another instruction set.
    noise_batch: f64,
    noise_flash: f64,
    noise_isa: f64,
}

/// Positions that the reference had room for.
const CONTEXT: usize = 512;

#[test]
fn every_case_is_within_the_noise_of_llama_cpp() {
    let folder = root().join("fixtures/golden");
    let cases = std::fs::read(folder.join("cases.json")).expect("the cases are there");
    let cases: BTreeMap<String, Case> = serde_json::from_slice(&cases).expect("cases in JSON");
    for (name, case) in cases {
        let theirs = read_f32(&folder.join(format!("{name}.llama-cpp.logits.f32")));
        let path = folder.join(format!("{name}.gguf"));
        let gguf = Arc::new(Gguf::open(path).expect("a golden model opens"));
        let options = LoadOptions::default().device(Device::Cpu);
        let model = Model::load(gguf, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(model.config().vocabulary, case.vocabulary);
        let mut session = model.session(CONTEXT).expect("a session starts");
        let mut ours = Vec::new();
        session
            .feed_all(&case.tokens, |_, row| ours.extend_from_slice(row))
            .expect("the prompt is read");
        let distance = distance(&ours, &theirs, case.vocabulary).mean_mse;
        let noise = case.noise_batch.max(case.noise_flash).max(case.noise_isa);
        let most = (2.0 * noise).max(1e-4 * case.variance);
        let rows = ours
            .chunks(case.vocabulary)
            .zip(theirs.chunks(case.vocabulary));
        let (count, same) = rows.fold((0, 0), |(count, same), (ours, theirs)| {
            (
                count + 1,
                same + usize::from(argmax(ours) == argmax(theirs)),
            )
        });
        println!("{name}: mean MSE {distance:.2e} of {most:.1e}, {same} of {count} ids");
        assert!(distance <= most, "mean MSE {distance:e} of {name}");
        assert!(20 * same >= 19 * count, "{same} of {count} ids of {name}");
    }
}

/// A tensor by its name, and what becomes of each of its values.
type Change<'a> = (&'a str, fn(f32) -> f32);

/// The logits of a gated delta net with other values for a tensor and for keys, if any, and their
/// distance from those of a plain pass (`fixtures/golden/qwen35_f32.py`), as a share of
/// the variance.
fn delta_net_apart(change: Option<Change<'_>>, keys: &[(&str, Value)]) -> f64 {
    let folder = root().join("fixtures/golden");
    let golden = Gguf::open(folder.join("qwen35-f32.gguf")).expect("a golden model opens");
    let mut writer = Writer::new();
    for (key, value) in golden.metadata().iter() {
        writer.set(key, value.clone());
    }
    for (key, value) in keys {
        writer.set(*key, value.clone());
    }
    for tensor in golden.tensors() {
        let declared = writer.tensor(&tensor.name, &tensor.shape, tensor.type_id);
        declared.expect("a sound tensor");
    }
    let mut body = writer.begin(Vec::new()).expect("memory is written to");
    for tensor in golden.tensors() {
        let mut data = golden.data(tensor).expect("a sound tensor").to_vec();
        if let Some((name, change)) = change
            && tensor.name == name
        {
            for value in data.as_chunks_mut::<4>().0 {
                *value = change(f32::from_le_bytes(*value)).to_le_bytes();
            }
        }
        body.write(&tensor.name, &data).expect("as declared");
    }
    let bytes = body.finish().expect("all is written");
    let gguf = Arc::new(Gguf::from_bytes(bytes).expect("a sound file"));
    let options = LoadOptions::default().device(Device::Cpu);
    let model = Model::load(gguf, &options).expect("a golden model loads");
    let vocabulary = model.config().vocabulary;
    let tokens: Vec<u32> = (0..40).map(|i| (7 * i * i + 3 * i + 5) % 80).collect();
    let mut session = model.session(tokens.len()).expect("a session starts");
    let mut ours = Vec::new();
    session
        .feed_all(&tokens, |_, row| ours.extend_from_slice(row))
        .expect("the prompt is read");
    let theirs = read_f32(&folder.join("qwen35-f32.numpy.logits.f32"));
    let squares = theirs.iter().map(|x| f64::from(*x).powi(2));
    let variance = squares.sum::<f64>() / theirs.len() as f64;
    distance(&ours, &theirs, vocabulary).mean_mse / variance
}

/// Nothing is rounded but keys and values, so that only the order of float sums is between the two.
const PLAIN: f64 = 1e-10;

#[test]
fn a_gated_delta_net_is_the_plain_pass() {
    let apart = delta_net_apart(None, &[]);
    println!("qwen35-f32: {apart:.1e} of the variance");
    assert!(apart <= PLAIN, "{apart:e}");
}

#[test]
fn layers_may_be_flagged_one_by_one() {
    let flags = [true, false, true, false, false];
    let numbers = flags.map(u32::from);
    for array in [Array::from(&flags[..]), Array::from(&numbers[..])] {
        // The flags count, and not the interval.
        let keys = [
            ("qwen35.attention.recurrent_layers", array.into()),
            ("qwen35.full_attention_interval", 3_u32.into()),
        ];
        let apart = delta_net_apart(None, &keys);
        assert!(apart <= PLAIN, "{apart:e}");
    }
}

#[test]
fn each_part_of_a_gated_delta_net_shows_in_the_logits() {
    let changes: [Change<'_>; 9] = [
        // The decay left out.
        ("blk.0.ssm_a", |_| 0.0),
        ("blk.2.ssm_a", |rate| rate * 1.01),
        ("blk.0.ssm_dt.bias", |bias| bias + 0.01),
        ("blk.0.ssm_beta.weight", |_| 0.0),
        // Norms left out.
        ("blk.2.ssm_norm.weight", |_| 1.0),
        ("blk.1.attn_q_norm.weight", |_| 1.0),
        ("blk.3.post_attention_norm.weight", |_| 1.0),
        // Scales.
        ("blk.2.attn_gate.weight", |weight| weight * 1.01),
        ("blk.0.ssm_conv1d.weight", |weight| weight * 1.01),
    ];
    for (name, change) in changes {
        let apart = delta_net_apart(Some((name, change)), &[]);
        println!("{name}: {apart:.1e} of the variance");
        assert!(apart > 1e3 * PLAIN, "{name}: {apart:e}");
    }
}

/// A row of the README's table of models: the architectures, the golden model, and how far we are
/// from its reference as the table has it.
struct Row {
    architectures: Vec<String>,
    golden: Option<String>,
    reference: String,
    distance: String,
}

/// The rows of the README's table of models.
fn table_of_models() -> Vec<Row> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let (_, section) = readme
        .split_once("\n## Which models run\n")
        .expect("the section of models");
    let section = section.split("\n## ").next().unwrap_or_default();
    let quoted = |cell: &str| -> Vec<String> {
        let parts = cell.split('`').skip(1).step_by(2);
        parts.map(str::to_owned).collect()
    };
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, architectures, _, _, _, reference, distance, _] = cells[..] else {
            panic!("a row of six cells: {line}");
        };
        Row {
            architectures: quoted(architectures),
            golden: quoted(reference).pop(),
            reference: reference.split(',').next().unwrap_or_default().to_owned(),
            distance: distance.to_owned(),
        }
    })
    .collect()
}

#[test]
fn the_readme_names_every_architecture_and_how_near_its_reference_we_are() {
    let folder = root().join("fixtures/golden");
    let cases = std::fs::read(folder.join("cases.json")).expect("the cases are there");
    let cases: BTreeMap<String, Case> = serde_json::from_slice(&cases).expect("cases in JSON");
    let rows = table_of_models();
    let mut named: Vec<&str> = rows
        .iter()
        .flat_map(|row| &row.architectures)
        .map(String::as_str)
        .collect();
    named.sort_unstable();
    named.dedup();
    let mut known: Vec<&str> = bitnet_engine::Architecture::names().collect();
    known.sort_unstable();
    assert_eq!(named, known);
    for row in &rows {
        let Some(golden) = &row.golden else {
            assert_eq!(row.distance, "-", "{:?}", row.architectures);
            continue;
        };
        let (suffix, cache_type) = match row.reference.as_str() {
            "llama.cpp" => ("llama-cpp", CacheType::F16),
            "bitnet.cpp" => ("bitnet-cpp", CacheType::F16),
            "transformers" => ("hf", CacheType::F32),
            other => panic!("{golden}: who is {other}?"),
        };
        let theirs = read_f32(&folder.join(format!("{golden}.{suffix}.logits.f32")));
        let path = folder.join(format!("{golden}.gguf"));
        let file = Gguf::open(&path).expect("a golden model opens");
        let architecture = file.metadata().str("general.architecture");
        let architecture = architecture.expect("an architecture").to_owned();
        assert!(row.architectures.contains(&architecture), "{golden}");
        let (ours, vocabulary) = match cases.get(golden) {
            None => logits(&path, &PROMPT, &theirs, cache_type),
            Some(case) => {
                let options = LoadOptions::default().device(Device::Cpu);
                let model = Model::load(Arc::new(file), &options).expect("it loads");
                let mut session = model.session(CONTEXT).expect("a session starts");
                let mut ours = Vec::new();
                session
                    .feed_all(&case.tokens, |_, row| ours.extend_from_slice(row))
                    .expect("the prompt is read");
                (ours, case.vocabulary)
            }
        };
        let mean = theirs.iter().map(|x| f64::from(*x)).sum::<f64>() / theirs.len() as f64;
        let squares = theirs.iter().map(|x| (f64::from(*x) - mean).powi(2));
        let variance = squares.sum::<f64>() / theirs.len() as f64;
        let distance = distance(&ours, &theirs, vocabulary).mean_mse / variance;
        assert_eq!(format!("{distance:.0e}"), row.distance, "{golden}");
    }
}
