//! The lanes' own logits against the golden files that builds like these made.

use std::fs;
use std::path::{Path, PathBuf};

use bitnet_crossval::lane::{Client, Home, Lane, Limits};
use bitnet_lane_protocol::message::{Attention, EvaluateRequest, Feed, KvType, LoadRequest};

/// The prompt of the golden files, and how many greedy tokens follow it.
const PROMPT: [i32; 24] = [
    1, 5, 17, 200, 33, 7, 450, 99, 12, 401, 3, 88, 256, 300, 42, 42, 42, 9, 310, 77, 128, 64, 500,
    2,
];
const GREEDY: u32 = 16;

/// The instruction sets, in the references' words, of the machine that made the files.
const SAME_MACHINE: [&str; 3] = ["AVX512 = 1", "AVX512_VNNI = 1", "AVX512_BF16 = 1"];
/// One that it lacked: with it llama.cpp sums in another order.
const OTHER_MACHINE: &str = "AMX_INT8 = 1";

/// The mean squared distance of a reference to itself on these models, one token at a time against
/// one batch: 7.3e-5 (fixtures/golden/README.md). Other instruction sets are within it.
const OWN_DISTANCE: f64 = 1e-4;

/// The path of a golden file.
pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/golden")
        .join(name)
}

/// A built lane, or the command that builds it.
pub(crate) fn start(lane: Lane) -> Client {
    let home = Home::named_by(std::env::var_os).expect("a cache");
    home.start(lane, Limits::default())
        .unwrap_or_else(|failure| panic!("{failure}\n(or leave the feature `crossval-cpp` off)"))
}

fn open(model: &str) -> LoadRequest {
    LoadRequest {
        path: golden(&format!("{model}.gguf")),
        threads: 1,
        context: 512,
        kv: KvType::F16,
        attention: Attention::Plain,
    }
}

#[test]
fn each_lane_gives_the_golden_logits() {
    for (lane, models) in [
        (Lane::BitnetCpp, &["llama-i2_s", "bitnet-i2_s"][..]),
        (
            Lane::LlamaCpp,
            &["llama-tq1_0", "llama-tq2_0", "bitnet-tq1_0", "bitnet-tq2_0"],
        ),
    ] {
        let mut client = start(lane);
        let system = client.hello().system.clone();
        let to_the_bit =
            SAME_MACHINE.iter().all(|set| system.contains(set)) && !system.contains(OTHER_MACHINE);
        for model in models {
            client.load(open(model)).unwrap();
            let request = EvaluateRequest {
                tokens: PROMPT.to_vec(),
                feed: Feed::Batch,
                greedy: GREEDY,
                layers: false,
            };
            let (_, logits) = client.evaluate(request).unwrap();
            let file = fs::read(golden(&format!("{model}.{}.logits.f32", lane.name()))).unwrap();
            let (quads, _) = file.as_chunks::<4>();
            let wanted: Vec<_> = quads
                .iter()
                .map(|bytes| f32::from_le_bytes(*bytes))
                .collect();
            assert_eq!(logits.len(), wanted.len(), "{model}");
            if to_the_bit {
                let differ = logits
                    .iter()
                    .zip(&wanted)
                    .filter(|(a, b)| a.to_bits() != b.to_bits());
                assert_eq!(
                    differ.count(),
                    0,
                    "{model}: logits that differ, of {}",
                    wanted.len()
                );
            } else {
                println!(
                    "{model}: not the machine of the golden files ({system}), so within the reference's own noise"
                );
                // Greedy tokens may differ after a near tie: the prompt's rows are what both
                // computed from the same ids.
                let rows = PROMPT.len() * wanted.len() / (PROMPT.len() + GREEDY as usize);
                let squares = logits[..rows]
                    .iter()
                    .zip(&wanted[..rows])
                    .map(|(a, b)| f64::from(a - b).powi(2));
                let mse = squares.sum::<f64>() / rows as f64;
                assert!(mse <= OWN_DISTANCE, "{model}: {mse}");
            }
        }
    }
}

/// The golden logits came from transformers itself, which sums as the processor's kernels do.
#[test]
fn transformers_gives_its_golden_logits_up_to_the_order_of_sums() {
    let request = EvaluateRequest {
        tokens: PROMPT.to_vec(),
        feed: Feed::Batch,
        greedy: 0,
        layers: false,
    };
    let mut client = start(Lane::Transformers);
    client
        .load(LoadRequest {
            kv: KvType::F32,
            ..open("b158-i2_s")
        })
        .unwrap();
    let (_, logits) = client.evaluate(request).unwrap();
    let file = fs::read(golden("b158-i2_s.hf.logits.f32")).unwrap();
    let (quads, _) = file.as_chunks::<4>();
    let wanted = quads.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let squares = logits
        .iter()
        .zip(wanted)
        .map(|(a, b)| f64::from(a - b).powi(2));
    let mse = squares.sum::<f64>() / logits.len() as f64;
    assert!(mse <= OWN_DISTANCE, "{mse}");
}

/// What a lane cannot read it refuses, and goes on.
#[test]
fn a_refused_file_leaves_the_lane_alive() {
    for (lane, kv, foreign, native) in [
        (Lane::BitnetCpp, KvType::F16, "b158-i2_s", "llama-i2_s"),
        (Lane::LlamaCpp, KvType::F16, "llama-i2_s", "llama-tq2_0"),
        (Lane::Transformers, KvType::F32, "llama-i2_s", "b158-i2_s"),
    ] {
        let mut client = start(lane);
        let open = |model| LoadRequest { kv, ..open(model) };
        let refusal = client.load(open(foreign)).unwrap_err().to_string();
        assert!(refusal.contains("cannot read"), "{refusal}");
        let info = client.load(open(native)).unwrap();
        assert_eq!((info.vocabulary, info.layers, info.hidden), (512, 3, 256));
    }
}

/// bitnet.cpp keeps values in f16 alone, unless attention is flash attention.
#[test]
fn a_cache_that_the_reference_has_not_is_refused_in_its_own_words() {
    let mut client = start(Lane::BitnetCpp);
    let request = LoadRequest {
        kv: KvType::F32,
        ..open("llama-i2_s")
    };
    let refusal = client.load(request).unwrap_err().to_string();
    assert!(refusal.contains("requires flash_attn"), "{refusal}");
    assert!(!refusal.contains("llm_load"), "{refusal}");
}
