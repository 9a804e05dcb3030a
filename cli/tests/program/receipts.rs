//! Receipts of answers: written by one process, repeated by another.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::{bitnet, bits, golden, output, root, stderr, stdout};

/// Runs with a receipt, and returns it.
fn run(folder: &Path, model: &Path, args: &[&str]) -> Value {
    let mut command = bitnet(folder);
    command.args(["run", "--device", "cpu", "--quiet", "--threads", "1"]);
    command.args(["--prompt", "ROMEO:\nWhat light", "--max-tokens", "12"]);
    command.args(["--receipt", "receipt.json"]).args(args);
    let result = output(command.arg("--model").arg(model));
    assert!(result.status.success(), "{}", stderr(&result));
    let receipt = fs::read(folder.join("receipt.json")).unwrap();
    let receipt: Value = serde_json::from_slice(&receipt).unwrap();
    assert_eq!(
        stdout(&result).trim_end(),
        receipt["answer"]["text"].as_str().unwrap().trim_end()
    );
    receipt
}

fn verify(folder: &Path, isa: &str, args: &[&str]) -> Output {
    let mut command = bitnet(folder);
    command.args(["verify", "receipt.json"]).args(args);
    output(command.env("BITNET_ISA", isa))
}

#[test]
fn a_receipt_holds_in_another_process_with_other_threads_batches_and_instructions() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let isas = bits::isas(folder);
    let draw = [
        "--temperature",
        "0.8",
        "--seed",
        "12345678901234567890",
        "--kv",
        "f32",
    ];
    run(folder, &root().join("demo/demo.gguf"), &draw);
    let isas = isas.iter().map(String::as_str);
    for (isa, args) in isas.zip([["--threads", "2"], ["--batch", "1"]].iter().cycle()) {
        let result = verify(folder, isa, args);
        assert_eq!(result.status.code(), Some(0), "{isa}: {}", stderr(&result));
        assert_eq!(
            stdout(&result),
            "the receipt holds: 12 steps are the same to the bit\n"
        );
        // Where the model was is gone: the one inside the program has its SHA-256.
        assert!(
            stderr(&result).contains("demo.gguf (by its SHA-256)"),
            "{}",
            stderr(&result)
        );
    }
    let result = verify(folder, "scalar", &["--json"]);
    let json: Value = serde_json::from_str(&stdout(&result)).unwrap();
    assert_eq!(
        json,
        json!({ "holds": true, "steps": 12, "differences": [], "notes": [] })
    );
}

#[test]
fn a_receipt_takes_the_place_of_a_receipt_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let grammar = folder.join("grammar.gbnf");
    fs::write(&grammar, "root ::= \"a\"").unwrap();
    let mut command = bitnet(folder);
    command.args(["run", "--prompt", "x", "--grammar", "grammar.gbnf"]);
    let result = output(command.args(["--receipt", "grammar.gbnf"]));
    assert_eq!(result.status.code(), Some(1));
    let said = stderr(&result);
    assert!(
        said.contains("grammar.gbnf holds something else than a receipt"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&grammar).unwrap(), "root ::= \"a\"");
    // One in the place of another.
    let demo = root().join("demo/demo.gguf");
    run(folder, &demo, &[]);
    run(folder, &demo, &["--seed", "2"]);
}

#[test]
fn the_model_of_a_receipt_is_found_by_its_hash_wherever_models_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (demo, other) = (root().join("demo/demo.gguf"), golden("llama-i2_s.gguf"));
    let here = folder.join("models/deep/x.gguf");
    fs::create_dir_all(here.parent().unwrap()).unwrap();
    fs::copy(&other, folder.join("models/a.gguf")).unwrap();
    fs::copy(&demo, &here).unwrap();
    let mut receipt = run(folder, &here, &[]);
    let found = |what: &str| {
        let result = verify(folder, "scalar", &[]);
        assert_eq!(result.status.code(), Some(0), "{}", stderr(&result));
        assert!(stderr(&result).contains(what), "{}", stderr(&result));
    };
    found("x.gguf");
    // Moved, it is found among all there are; gone, inside the program.
    fs::rename(&here, folder.join("models/z.gguf")).unwrap();
    found("models/z.gguf");
    fs::remove_file(folder.join("models/z.gguf")).unwrap();
    found("demo model that ships");
    receipt["model"]["sha256"] = "ab".repeat(32).into();
    fs::write(folder.join("receipt.json"), receipt.to_string()).unwrap();
    let result = verify(folder, "scalar", &[]);
    assert_eq!(result.status.code(), Some(1));
    assert!(
        stderr(&result).contains("name it with --model"),
        "{}",
        stderr(&result)
    );
    let result = verify(folder, "scalar", &["--model", demo.to_str().unwrap()]);
    assert_eq!(result.status.code(), Some(4));
    assert!(
        stdout(&result).contains("another model"),
        "{}",
        stdout(&result)
    );
}

#[test]
fn what_does_not_hold_ends_with_4_and_what_is_no_receipt_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let receipt = run(folder, &root().join("demo/demo.gguf"), &[]);
    let mut edited = receipt.clone();
    edited["answer"]["tokens"][5] = json!(1);
    fs::write(folder.join("receipt.json"), edited.to_string()).unwrap();
    let result = verify(folder, "scalar", &[]);
    assert_eq!(result.status.code(), Some(4), "{}", stderr(&result));
    assert!(
        stdout(&result).contains("token 5 of the answer"),
        "{}",
        stdout(&result)
    );
    for (text, what) in [
        ("", "no answer receipt"),
        (
            "{\"kind\": \"answer\", \"schema_version\": 9}",
            "`schema_version` is 9",
        ),
        (
            &receipt
                .to_string()
                .replace("\"prompt\":[", "\"prompt\":[-1,"),
            "-1",
        ),
    ] {
        fs::write(folder.join("receipt.json"), text).unwrap();
        let result = verify(folder, "scalar", &[]);
        assert_eq!(result.status.code(), Some(1));
        assert!(stderr(&result).contains(what), "{}", stderr(&result));
    }
}

#[test]
fn a_receipt_is_never_half_written_nor_over_what_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.gguf");
    fs::copy(root().join("demo/demo.gguf"), &model).unwrap();
    let place = folder.path().join("receipt.json");
    fs::write(&place, "").unwrap();
    let refused = |receipt: &str, more: &[&str], what: &str| {
        let mut command = bitnet(folder.path());
        command.args([
            "run",
            "--device",
            "cpu",
            "--model",
            "model.gguf",
            "--prompt",
            "x",
        ]);
        let result = output(command.args(["--receipt", receipt]).args(more));
        assert_eq!(result.status.code(), Some(1), "{}", stderr(&result));
        assert!(stderr(&result).contains(what), "{}", stderr(&result));
        assert!(stdout(&result).is_empty());
    };
    refused("model.gguf", &[], "something else than a receipt");
    refused("receipt.json", &["--top-p", "7"], "top-p");
    refused("receipt.json/below", &[], "output file");
    assert_eq!(fs::read_to_string(&place).unwrap(), "");
    let files = fs::read_dir(folder.path()).unwrap();
    assert_eq!(files.count(), 2, "nothing is left behind");
}
