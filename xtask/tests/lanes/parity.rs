//! `parity-both` and the suite on the built lanes.

use std::fs;
use std::path::Path;

use bitnet_crossval::lane::Lane;
use bitnet_fixtures::{Arch, Recipe, Shape};
use bitnet_gguf::{Gguf, Writer};
use bitnet_kernels::Format;
use serde_json::Value;

use super::built::{borrow, cache};
use super::parity_refusals::golden;
use super::workbench::{ROOT, Run, Workbench, finish};

const TOKENS: &str = "1,5,17,200,33,7,450,99,12,401,3,88,256,300,42,42,42,9,310,77,128,64,500,2";

/// `parity-both` on the built lanes, with its receipts in the folder `out` of the bench.
fn parity(bench: &Workbench, out: &str, more: &[&str]) -> Run {
    let out = bench.path(out).display().to_string();
    let mut arguments = vec!["parity-both", "--no-repair", "--out-dir", &out];
    arguments.extend(more);
    let cache = if bench.cache().exists() {
        bench.cache()
    } else {
        cache()
    };
    finish(bench.command_on(&cache, &arguments))
}

fn receipt(bench: &Workbench, out: &str, lane: Lane) -> Value {
    let path = bench
        .path(out)
        .join(format!("receipt_{}.json", lane.backend()));
    serde_json::from_slice(&fs::read(path).expect("a receipt")).expect("JSON")
}

#[test]
fn golden_models_pass_on_both_lanes_with_two_receipts_and_one_summary() {
    let bench = Workbench::new();
    let (model, report) = (golden("bitnet-i2_s"), bench.path("report.html"));
    let shown = report.display().to_string();
    let arguments = [
        "--model-gguf",
        &model,
        "--tokens",
        TOKENS,
        "--max-tokens",
        "8",
        "--report",
        &shown,
        "--dump-ids",
    ];
    let run = parity(&bench, "out", &arguments).exits(0);
    run.says("Parity-Both Cross-Validation Summary")
        .says("Lane A: BitNet.cpp")
        .says("bitnet.cpp of bitnet-cpp-sys 0.0.5")
        .says("Transcoded:       I2_S as TQ2_0, on both sides of this lane")
        .says("Tokens:           given by hand")
        .says("Both lanes:       ✓ PASSED")
        .says("Exit code:        0")
        .says(&format!("Rust tokens: {TOKENS}"));
    for lane in Lane::CPP {
        let receipt = receipt(&bench, "out", lane);
        assert_eq!(receipt["version"], 2);
        assert_eq!(receipt["backend"], lane.backend());
        assert_eq!(receipt["summary"]["all_passed"], true, "{receipt:#}");
        assert_eq!(receipt["positions"], 24 + 8);
        assert_eq!(receipt["rows"].as_array().map(Vec::len), Some(24 + 8));
        assert_eq!(receipt["layers"].as_array().map(Vec::len), Some(3));
        assert_eq!(receipt["tokenizer_authority"]["source"], "token_ids");
        assert_eq!(receipt["token_check"], "ids_given");
        assert_eq!(receipt["model_sha256"].as_str().map(str::len), Some(64));
        for varied in ["one_batch", "one_token_at_a_time", "flash_attention"] {
            assert!(
                receipt["own_distance"][varied]["mean_mse"].is_f64(),
                "{varied}"
            );
        }
        assert_eq!(receipt["transcoded"].is_object(), lane == Lane::LlamaCpp);
    }
    let page = fs::read_to_string(report).expect("a report");
    assert_eq!(page.matches("<svg ").count(), 8);
    verify(&bench, "out", &["--model", &model]).exits(0);
}

/// `verify-receipt` on both receipts.
fn verify(bench: &Workbench, out: &str, more: &[&str]) -> Run {
    let receipts = Lane::CPP.map(|lane| {
        let name = format!("receipt_{}.json", lane.backend());
        bench.path(out).join(name).display().to_string()
    });
    let arguments = ["verify-receipt", &receipts[0], &receipts[1]];
    bench.run(&[&arguments, more].concat())
}

/// The flagship architecture and the demo model, on the one reference that knows them.
#[test]
fn bitnet_b158_and_the_demo_model_pass_on_transformers() {
    let bench = Workbench::new();
    let demo = format!("{ROOT}/demo/demo.gguf");
    let golden = golden("b158-i2_s");
    for (out, arguments, check) in [
        (
            "golden",
            ["--model", &golden, "--tokens", TOKENS],
            "ids_given",
        ),
        (
            "demo",
            ["--model", &demo, "--prompt", "ROMEO: What light"],
            "equal",
        ),
    ] {
        let lane = ["--backend", "transformers"];
        parity(&bench, out, &[&arguments[..], &lane].concat())
            .exits(0)
            .says("Lane A: Hugging Face transformers");
        let receipt = receipt(&bench, out, Lane::Transformers);
        assert_eq!(receipt["token_check"], check);
        assert_eq!(receipt["generated"]["first_difference"], Value::Null);
        let path = bench.path(out).join("receipt_transformers.json");
        let path = path.display().to_string();
        bench.run(&["verify-receipt", &path]).exits(0);
    }
}

/// A model that is random but whose tokenizer is that of the demo model.
fn with_the_demo_tokenizer(path: &Path) {
    let demo = Gguf::open(format!("{ROOT}/demo/demo.gguf")).expect("the demo model");
    let vocabulary = demo
        .metadata()
        .get("tokenizer.ggml.tokens")
        .and_then(|tokens| Some(tokens.as_array()?.len()));
    let shape = Shape {
        vocabulary: vocabulary.expect("tokens"),
        ..Shape::TINY
    };
    let model = Recipe::new(Arch::Llama, shape, Format::I2S)
        .to_bytes()
        .expect("a model");
    let model = Gguf::from_bytes(model).expect("a model");
    let mut writer = Writer::new();
    let ours = model
        .metadata()
        .iter()
        .filter(|(key, _)| !key.starts_with("tokenizer."));
    let theirs = demo
        .metadata()
        .iter()
        .filter(|(key, _)| key.starts_with("tokenizer."));
    for (key, value) in ours.chain(theirs) {
        writer.set(key, value.clone());
    }
    for tensor in model.tensors() {
        writer
            .tensor(&tensor.name, &tensor.shape, tensor.type_id)
            .expect("a tensor");
    }
    let mut body = writer.begin(Vec::new()).expect("a header");
    for tensor in model.tensors() {
        body.write(&tensor.name, model.data(tensor).expect("data"))
            .expect("written");
    }
    fs::write(path, body.finish().expect("a file")).expect("written");
}

#[test]
fn both_references_make_the_same_tokens_of_a_prompt_in_each_template() {
    let bench = Workbench::new();
    let model = bench.path("model.gguf");
    with_the_demo_tokenizer(&model);
    let model = model.display().to_string();
    for (template, prompt) in [
        ("auto", "What is 2+2?"),
        (
            "raw",
            "ROMEO:\nWhat light through yonder window breaks?  It's the 3rd of Ælfric's 1,000 naïve 日本 🙂\n\n\tEnd",
        ),
        ("instruct", "Speak, <|endoftext|> then!"),
        ("llama3-chat", "Hi"),
    ] {
        let run = parity(
            &bench,
            template,
            &[
                "--model",
                &model,
                "--prompt",
                prompt,
                "--prompt-template",
                template,
                "--dump-ids",
                "--dump-cpp-ids",
                "--format",
                "json",
            ],
        )
        .exits(0);
        let ids = run
            .err
            .lines()
            .filter_map(|line| line.split_once(" tokens: ").map(|(_, ids)| ids));
        let ids: Vec<_> = ids.collect();
        assert_eq!(ids.len(), 3, "{run:?}");
        assert!(ids.iter().all(|other| *other == ids[0]), "{ids:?}");
        let summary: Value =
            serde_json::from_str(&run.out).expect("nothing but JSON on standard output");
        assert_eq!(summary["overall"]["tokenizer_consistent"], true);
        assert_eq!(summary["tokenizer_authority"]["source"], "gguf_embedded");
        for lane in Lane::CPP {
            let receipt = receipt(&bench, template, lane);
            assert_eq!(receipt["token_check"], "equal");
            let named = match template {
                "auto" => "raw",
                "llama3-chat" => "llama3-instruct",
                template => template,
            };
            assert_eq!(receipt["prompt_template"], named);
        }
    }
}

#[test]
fn tokens_that_differ_are_code_2_with_the_first_difference() {
    let bench = Workbench::new();
    let model = bench.path("model.gguf");
    // As many tokens as the other tokenizer has, but bytes.
    let shape = Shape {
        vocabulary: 1024,
        ..Shape::TINY
    };
    let bytes = Recipe::new(Arch::Llama, shape, Format::I2S)
        .to_bytes()
        .expect("a model");
    fs::write(&model, bytes).expect("written");
    let (model, other) = (
        model.display().to_string(),
        format!("{ROOT}/demo/tokenizer.json"),
    );
    let arguments = [
        "--model",
        &model,
        "--prompt",
        "Romeo",
        "--prompt-template",
        "raw",
    ];
    parity(&bench, "embedded", &arguments).exits(0);
    let run = parity(
        &bench,
        "external",
        &[&arguments[..], &["--tokenizer", &other]].concat(),
    )
    .exits(2);
    run.says("Tokenizer parity mismatch for bitnet.cpp: Rust ")
        .says("vs C++ 5 tokens")
        .says("Exit code:        2");
    let receipt = receipt(&bench, "external", Lane::LlamaCpp);
    assert_eq!(receipt["summary"]["all_passed"], false);
    assert_eq!(receipt["tokenizer_authority"]["source"], "external");
    assert_eq!(
        receipt["tokenizer_authority"]["file_hash"]
            .as_str()
            .map(str::len),
        Some(64)
    );
}

#[test]
fn both_lanes_at_once_give_the_same_receipts_but_for_times() {
    let bench = Workbench::new();
    let model = golden("llama-i2_s");
    let arguments = ["--model", &model, "--tokens", TOKENS, "--max-tokens", "8"];
    parity(&bench, "a", &arguments).exits(0);
    parity(&bench, "b", &[&arguments[..], &["--parallel"]].concat()).exits(0);
    for lane in Lane::CPP {
        let [a, b] = ["a", "b"].map(|out| {
            let mut receipt = receipt(&bench, out, lane);
            let fields = receipt.as_object_mut().expect("an object");
            for time in ["timestamp", "timings_ms"] {
                assert!(fields.remove(time).is_some(), "{time}");
            }
            receipt
        });
        assert_eq!(a, b);
    }
}

/// Puts a filter between the harness and the lane.
fn filter(bench: &Workbench, lane: Lane, filter: &str) {
    let folder = borrow(bench, lane);
    let name = format!("bitnet-lane-{}", lane.name());
    let real = folder.join("real");
    fs::rename(folder.join(&name), &real).expect("renamed");
    let script = format!("{filter} | {}", real.display());
    bench.put_program(&format!("cache/{}/{name}", lane.name()), &script);
}

/// The reference computes with one other trit than our side, which is what a wrong kernel of ours
/// looks like.
#[test]
fn a_single_wrong_trit_is_code_1_and_the_summary_names_position_and_layer() {
    let bench = Workbench::new();
    let told = golden("llama-i2_s");
    let mut bytes = fs::read(&told).expect("a golden model");
    let file = Gguf::open(&told).expect("a golden model");
    let tensor = file.tensor("blk.1.attn_v.weight").expect("a tensor");
    let at = tensor.range().expect("a place").start + 777;
    bytes[at] ^= if bytes[at] & 3 == 0 { 1 } else { 3 };
    let altered = bench.path("altered.gguf");
    fs::write(&altered, bytes).expect("written");
    // The lane opens another file than the one that it is told of.
    let other = format!("sed -u 's#{told}#{}#'", altered.display());
    filter(&bench, Lane::BitnetCpp, &other);
    borrow(&bench, Lane::LlamaCpp);
    let run = parity(&bench, "out", &["--model", &told, "--tokens", TOKENS]).exits(1);
    run.says("✗ Parity FAILED")
        .says("layer 1 is the first to part")
        .says("first at position 0")
        .says("Exit code:        1");
    assert_eq!(
        receipt(&bench, "out", Lane::BitnetCpp)["summary"]["first_layer"],
        1
    );
    verify(&bench, "out", &[])
        .exits(1)
        .says("layer 1 is the first to part");
    assert_eq!(
        receipt(&bench, "out", Lane::LlamaCpp)["summary"]["all_passed"],
        true
    );
}

#[test]
fn a_lane_that_ends_or_cannot_read_the_model_is_code_1_and_leaves_the_other_lane_alone() {
    let bench = Workbench::new();
    // After as many requests as the preflight makes, its input ends, and so does the lane.
    filter(&bench, Lane::LlamaCpp, "sed -u 4q");
    borrow(&bench, Lane::BitnetCpp);
    let model = golden("llama-i2_s");
    let run = parity(&bench, "out", &["--model", &model, "--tokens", TOKENS]).exits(1);
    run.says("llama-cpp lane: the process ended")
        .says("✗ Not compared")
        .says("✓ Parity OK");
    let receipt = receipt(&bench, "out", Lane::LlamaCpp);
    assert_eq!(receipt["summary"]["all_passed"], false);

    let bench = Workbench::new();
    let model = golden("b158-i2_s");
    let run = parity(&bench, "out", &["--model", &model, "--tokens", TOKENS]).exits(1);
    run.says("unknown model architecture: 'bitnet-b1.58'")
        .says("The same weights as TQ2_0");
    let run = parity(
        &bench,
        "out",
        &[
            "--model",
            &golden("llama-i2_s"),
            "--tokens",
            "1",
            "--transcode",
            "never",
        ],
    );
    run.exits(1).says("llama-cpp lane: cannot read");
}

#[test]
fn the_suite_writes_one_receipt_and_lists_what_a_reference_cannot_read() {
    let bench = Workbench::new();
    let path = bench.path("ci/parity.json");
    let (shown, good, unknown) = (
        path.display().to_string(),
        golden("llama-tq2_0"),
        golden("b158-i2_s"),
    );
    let arguments = [
        "crossval",
        "--backend",
        "bitnet,llama",
        "--receipt",
        &shown,
        "--model",
        &good,
        "--model",
        &unknown,
    ];
    finish(bench.command_on(&cache(), &arguments))
        .exits(0)
        .says("2 passed, 0 failed, 2 that the reference cannot read");
    let receipt: Value = serde_json::from_slice(&fs::read(path).expect("a receipt")).expect("JSON");
    assert_eq!(receipt["status"], "pass");
    assert_eq!(receipt["runs"].as_array().map(Vec::len), Some(4));
    assert_eq!(receipt["runs"][3]["status"], "unreadable");
    assert!(
        receipt["metrics"]["logits_cosine_similarity"]
            .as_f64()
            .is_some_and(|cosine| cosine > 0.999)
    );
    bench
        .run(&["verify-receipt", &shown, "--model", &good])
        .exits(0);
    // Nothing compared is no parity.
    let arguments = ["crossval", "--receipt", &shown, "--model", &unknown];
    let cpp = ["--backend", "bitnet,llama"];
    finish(bench.command_on(&cache(), &[&arguments[..], &cpp].concat())).exits(1);
    // Transformers, which is built, reads that one.
    finish(bench.command_on(&cache(), &arguments))
        .exits(0)
        .says("1 passed, 0 failed, 2 that the reference cannot read");
}
