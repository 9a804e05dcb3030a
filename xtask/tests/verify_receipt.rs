//! `xtask verify-receipt` on receipts that hold, that fail and that were tampered with.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// As parity receipts were before schema v2.
fn v1() -> Value {
    json!({
        "version": 1, "timestamp": "2025-10-26T14:30:00Z", "model": "model.gguf", "backend": "bitnet",
        "prompt": "test", "positions": 2, "thresholds": { "mse": 0.0001, "kl": 0.1, "topk": 0.8 },
        "rows": [
            { "pos": 0, "mse": 0.00001, "max_abs": 0.1, "kl": null, "topk_agree": null, "top5_rust": [], "top5_cpp": [] },
            { "pos": 1, "mse": 0.00003, "max_abs": 0.1, "kl": 0.01, "topk_agree": 1.0, "top5_rust": [], "top5_cpp": [] }
        ],
        "summary": { "all_passed": true, "first_divergence": null, "mean_mse": 0.00002, "mean_kl": null }
    })
}

/// The same in schema v2, where the reference's own distance is wider than the thresholds.
fn v2() -> Value {
    let mut receipt = v1();
    receipt["version"] = json!(2);
    receipt["prompt_template"] = json!("raw");
    receipt["model_sha256"] = json!(SHA256_OF_ABC);
    receipt["rows"][1]["mse"] = json!(0.0003);
    receipt["rows"][1]["passed"] = json!(true);
    receipt["summary"]["mean_mse"] = json!(0.000155);
    receipt["own_distance"] = json!({ "one token at a time": {
        "mean_mse": 0.0004, "max_mse": 0.0004, "mean_nmse": 0.0, "min_cosine": 0.999, "mean_kl": 0.0, "max_kl": 0.0,
        "min_top5": 1.0
    }});
    receipt
}

/// The example of the suite's schema, with the run that it needs.
fn suite() -> Value {
    let metrics = json!({
        "tokenization_exact_match": true, "logits_cosine_similarity": 0.9987, "greedy_exact_match": true,
        "inference_time_rust_ms": 12.3, "inference_time_cpp_ms": 15.7
    });
    json!({
        "schema_version": "1.0.0", "timestamp": "2025-10-16T12:00:00Z", "model_sha256": SHA256_OF_ABC,
        "bitnet_commit": "a1b2c3d", "test_suite": "full", "status": "pass",
        "metrics": metrics,
        "runs": [{
            "model": "model.gguf", "model_sha256": SHA256_OF_ABC, "backend": "bitnet", "status": "pass",
            "metrics": metrics
        }]
    })
}

const SHA256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn written(folder: &Path, receipt: &Value) -> PathBuf {
    let path = folder.join("receipt.json");
    std::fs::write(&path, receipt.to_string()).expect("written");
    path
}

/// The exit code and all that was said.
fn verify(arguments: &[&Path]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("verify-receipt")
        .args(arguments)
        .output()
        .expect("the program runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[track_caller]
fn expect(receipt: &Value, code: i32, words: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let (found, said) = verify(&[&written(folder.path(), receipt)]);
    assert_eq!(found, Some(code), "{said}");
    assert!(said.contains(words), "{words:?} is not in {said}");
}

#[test]
fn a_pass_of_either_schema_and_of_a_suite_is_code_0() {
    expect(&v1(), 0, "schema 1.0.0");
    expect(&v2(), 0, "schema 2.0.0");
    expect(&suite(), 0, "suite `full`");
}

#[test]
fn a_failed_run_is_code_1_with_its_reasons() {
    let mut receipt = v2();
    receipt["summary"]["all_passed"] = json!(false);
    receipt["summary"]["reasons"] = json!(["layer 2 computes something else"]);
    expect(&receipt, 1, "no parity: layer 2 computes something else");
    let mut receipt = suite();
    receipt["status"] = json!("fail");
    expect(&receipt, 1, "no parity");
}

#[test]
fn a_receipt_that_contradicts_itself_is_code_1() {
    let changes: [(&str, Value, &str); 10] = [
        ("/rows/1/mse", json!(0.5), "mean MSE"),
        ("/rows/1/pos", json!(7), "row 1 is of position 7"),
        ("/positions", json!(3), "3 positions"),
        ("/summary/mean_mse", json!(1e-9), "mean MSE"),
        ("/summary/first_divergence", json!(1), "first divergence"),
        ("/rows/1/passed", json!(false), "by its word"),
        (
            "/rows/0/choice",
            json!("different"),
            "its first divergence is None",
        ),
        ("/thresholds/mse", json!(1e-6), "DOES NOT HOLD"),
        // 0.0001 by hand, which the reference's own distance does not widen.
        (
            "/thresholds/hard",
            json!({ "mse": true, "kl": false, "topk": false, "cosine": false }),
            "DOES NOT HOLD",
        ),
        ("/timestamp", json!("yesterday"), "timestamp"),
    ];
    for (pointer, value, words) in changes {
        let mut receipt = v2();
        if pointer == "/thresholds/mse" {
            receipt["own_distance"] = json!({});
        }
        let parent = pointer.rsplit_once('/').expect("a pointer");
        receipt.pointer_mut(parent.0).expect("there")[parent.1] = value;
        expect(&receipt, 1, words);
    }
    let in_both = |field: &str, value: Value| {
        let mut receipt = suite();
        receipt["metrics"][field] = value.clone();
        receipt["runs"][0]["metrics"][field] = value;
        receipt
    };
    let receipt = in_both("logits_cosine_similarity", json!(0.9));
    expect(&receipt, 1, "below 0.99");
    let receipt = in_both("tokenization_exact_match", json!(false));
    expect(&receipt, 1, "tokens differ");
    let receipt = in_both("tokenization_exact_match", Value::Null);
    expect(&receipt, 0, "holds");
    let mut receipt = suite();
    receipt["runs"][0]["metrics"]["tokenization_exact_match"] = Value::Null;
    expect(&receipt, 1, "by its word, None by its runs");
    let mut receipt = suite();
    receipt["model_sha256"] = json!("unknown");
    expect(&receipt, 1, "its model_sha256 is `unknown`");
    let mut receipt = suite();
    receipt["runs"] = json!([]);
    expect(&receipt, 1, "it holds no run");
}

#[test]
fn what_is_no_receipt_is_code_2() {
    expect(&json!({ "version": 3 }), 2, "schema version is 3");
    expect(
        &json!({ "schema_version": "2.0.0" }),
        2,
        "schema version is 2.0.0",
    );
    expect(&json!({ "version": 1 }), 2, "missing field");
    expect(&json!([1, 2]), 2, "not a receipt");
    let (code, said) = verify(&[Path::new("/nonexistent/receipt.json")]);
    assert!(code == Some(2) && said.contains("cannot read"), "{said}");
}

#[test]
fn a_receipt_about_another_model_does_not_hold() {
    let folder = tempfile::tempdir().expect("a folder");
    let receipt = written(folder.path(), &v2());
    let (same, other) = (folder.path().join("abc"), folder.path().join("other"));
    std::fs::write(&same, "abc").expect("written");
    std::fs::write(&other, "abd").expect("written");
    let flag = Path::new("--model");
    assert_eq!(verify(&[&receipt, flag, &same]).0, Some(0));
    let (code, said) = verify(&[&receipt, flag, &other]);
    assert!(
        code == Some(1) && said.contains("not about a model"),
        "{said}"
    );
}
