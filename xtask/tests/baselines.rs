//! `xtask gen-baselines` and `xtask verify-baselines` on the demo model. How fast it is here is of
//! no matter: baselines are altered so that any machine is far faster, or far slower.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// A folder with one baseline, measured here.
    fn new() -> Bench {
        let bench = Bench {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let (code, text) = bench.run("gen-baselines", &[]);
        assert_eq!(code, Some(0), "{text}");
        bench
    }

    fn run(&self, command: &str, more: &[&str]) -> (Option<i32>, String) {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/demo.gguf");
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args([command, "--threads", "1", "--prompt-tokens", "4"])
            .args(["--gen-tokens", "2", "--repetitions", "1", "--model"])
            .arg(demo)
            .arg("--baselines")
            .arg(self.folder.path())
            .args(more)
            .output()
            .expect("xtask runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    }

    fn file(&self) -> PathBuf {
        let mut entries = std::fs::read_dir(self.folder.path()).expect("a folder");
        entries.next().expect("a file").expect("an entry").path()
    }

    fn json(&self) -> Value {
        let text = std::fs::read_to_string(self.file()).expect("readable");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Changes the one baseline.
    fn alter(&self, change: impl FnOnce(&mut Value)) {
        let mut file = self.json();
        change(&mut file["baselines"][0]);
        std::fs::write(self.file(), file.to_string()).expect("written");
    }
}

#[test]
fn a_baseline_has_figures_kernels_and_what_it_belongs_to() {
    let bench = Bench::new();
    let name = bench
        .file()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned();
    let (date, rest) = name.split_at(8);
    assert!(
        date.bytes().all(|byte| byte.is_ascii_digit()) && rest == "-cpu.json",
        "{name}"
    );
    let file = bench.json();
    assert_eq!(file["schema_version"], "1.0.0");
    let baseline = &file["baselines"][0];
    assert_eq!(baseline["compute_path"], "real");
    for key in ["prefill_tps", "cpu_tps", "cpu_latency_ms"] {
        assert!(baseline[key].as_f64().unwrap() > 0.0, "{baseline}");
    }
    assert!(
        !baseline["cpu_kernels"].as_array().unwrap().is_empty(),
        "{baseline}"
    );
    assert_eq!(baseline["model_sha256"].as_str().unwrap().len(), 64);
    assert!(
        baseline["device"].as_str().unwrap().ends_with("1 thread"),
        "{baseline}"
    );

    // Once more: in place of the first, beside that of another CPU.
    bench.alter(|baseline| baseline["cpu"] = json!("another"));
    for _ in 0..2 {
        assert_eq!(bench.run("gen-baselines", &[]).0, Some(0));
        assert_eq!(bench.json()["baselines"].as_array().unwrap().len(), 2);
    }
}

#[test]
fn a_loss_fails_and_a_gain_does_not() {
    let bench = Bench::new();
    bench.alter(|baseline| {
        baseline["prefill_tps"] = json!(1e-3);
        baseline["cpu_tps"] = json!(1e-3);
    });
    let (code, text) = bench.run("verify-baselines", &[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("prefill") && text.contains("decode"),
        "{text}"
    );
    bench.alter(|baseline| {
        baseline["cpu_tps"] = json!(1e12);
        baseline["cpu_kernels"] = json!(["a_kernel_of_old"]);
    });
    let (code, text) = bench.run("verify-baselines", &[]);
    assert_eq!(code, Some(16), "{text}");
    for part in ["once more", "a_kernel_of_old", "LOST more than 10 %"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (code, text) = bench.run("verify-baselines", &["--tolerance", "100"]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_loss_of_prefill_alone_fails_too() {
    let bench = Bench::new();
    bench.alter(|baseline| {
        baseline["prefill_tps"] = json!(1e12);
        baseline["cpu_tps"] = json!(1e-3);
    });
    let (code, text) = bench.run("verify-baselines", &[]);
    assert_eq!(code, Some(16), "{text}");
}

#[test]
fn the_newest_baseline_counts() {
    let bench = Bench::new();
    bench.alter(|baseline| {
        baseline["prefill_tps"] = json!(1e-3);
        baseline["cpu_tps"] = json!(1e-3);
    });
    let mut old = bench.json();
    old["baselines"][0]["cpu_tps"] = json!(1e12);
    let path = bench.folder.path().join("20200101-cpu.json");
    std::fs::write(path, old.to_string()).expect("written");
    let (code, text) = bench.run("verify-baselines", &[]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_tolerance_is_a_percentage() {
    let bench = Bench::new();
    for tolerance in ["nan", "inf", "-1", "101", "ten"] {
        let tolerance = format!("--tolerance={tolerance}");
        let (code, text) = bench.run("verify-baselines", &[&tolerance]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("from 0 to 100"), "{text}");
    }
}

#[test]
fn another_machine_or_workload_is_not_judged_by_it() {
    let bench = Bench::new();
    let (code, text) = bench.run("verify-baselines", &["--kv", "f16"]);
    assert_eq!(code, Some(2), "no such flag: {text}");
    for (key, value) in [
        ("cpu", json!("another CPU")),
        ("device", json!("cpu avx1024, 1 thread")),
        ("model_sha256", json!("0".repeat(64))),
        ("prompt_tokens", json!(5)),
    ] {
        let before = bench.json();
        bench.alter(|baseline| {
            baseline[key] = value;
            baseline["cpu_tps"] = json!(1e12);
        });
        let (code, text) = bench.run("verify-baselines", &[]);
        assert_eq!(code, Some(15), "{key}: {text}");
        assert!(text.contains("cargo xtask gen-baselines"), "{text}");
        std::fs::write(bench.file(), before.to_string()).expect("written");
    }
}

#[test]
fn what_is_no_baseline_is_refused_with_the_reason() {
    let bench = Bench::new();
    let good = bench.json();
    let mut no_kernels = good.clone();
    no_kernels["baselines"][0]["cpu_kernels"] = json!([]);
    let mut mock = good.clone();
    mock["baselines"][0]["compute_path"] = json!("mock");
    let mut nothing = good.clone();
    nothing["baselines"][0]["cpu_tps"] = json!(0.0);
    let mut newer = good.clone();
    newer["schema_version"] = json!("2.0.0");
    for (text, reason) in [
        ("{".to_owned(), "EOF"),
        (no_kernels.to_string(), "names no kernel"),
        (mock.to_string(), "only \"real\" counts"),
        (nothing.to_string(), "must be above 0"),
        (newer.to_string(), "reads 1.x"),
    ] {
        std::fs::write(bench.file(), text).expect("written");
        let (code, said) = bench.run("verify-baselines", &[]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(reason) && said.contains("-cpu.json"),
            "{reason}: {said}"
        );
    }
}

#[test]
fn baselines_are_made_of_the_receipts_of_benchmarks() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let xtask = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(arguments)
            .current_dir(at)
            .output()
            .expect("xtask runs");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/demo.gguf");
    let demo = demo.to_str().expect("a path that is text");
    let workload = [
        "--threads",
        "1",
        "--prompt-tokens",
        "4",
        "--gen-tokens",
        "2",
        "--repetitions",
        "1",
        "--model",
        demo,
    ];
    let ran = xtask(&[&["bench"], &workload[..]].concat());
    assert_eq!(ran.0, Some(0), "{}", ran.1);
    let path = at.join("ci/bench_demo.json");
    let text = std::fs::read_to_string(&path).expect("a receipt");
    let mut receipt: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(receipt["compute_path"], "real");
    assert_eq!(receipt["backend"], "cpu");
    assert!(!receipt["kernels"].as_array().expect("a list").is_empty());
    // Three runs; the second fastest counts.
    for (name, speed) in [("demo", 30.0), ("b", 10.0), ("c", 20.0)] {
        receipt["tokens_per_second"] = json!(speed);
        let text = receipt.to_string();
        std::fs::write(at.join(format!("ci/bench_{name}.json")), text).expect("written");
    }
    let ran = xtask(&["gen-baselines", "--baselines", "baselines"]);
    assert_eq!(ran.0, Some(0), "{}", ran.1);
    let file = std::fs::read_dir(at.join("baselines")).expect("a folder");
    let file = file.map(|entry| entry.expect("an entry").path()).next();
    let text = std::fs::read_to_string(file.expect("a file")).expect("readable");
    let file: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(file["baselines"].as_array().expect("a list").len(), 1);
    assert_eq!(file["baselines"][0]["cpu_tps"], 20.0);
    // What was never measured is no receipt.
    receipt["compute_path"] = json!("mock");
    std::fs::write(&path, receipt.to_string()).expect("written");
    let (code, said) = xtask(&["gen-baselines", "--baselines", "baselines"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("bench_demo.json") && said.contains("mock"),
        "{said}"
    );
}
