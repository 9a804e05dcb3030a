//! `parity-both` and the suites where nothing can be compared: the exit code says why, and no
//! receipt is left.

use super::workbench::{ROOT, Run, Workbench, finish};

/// A golden model of the repository.
pub(crate) fn golden(name: &str) -> String {
    format!("{ROOT}/fixtures/golden/{name}.gguf")
}

fn parity(bench: &Workbench, more: &[&str], variables: &[(&str, &str)]) -> Run {
    let (model, out) = (
        golden("llama-i2_s"),
        bench.path("out").display().to_string(),
    );
    let mut arguments = vec!["parity-both", "--out-dir", &out];
    if !more.contains(&"--model") {
        arguments.extend(["--model", &model]);
    }
    if !more.contains(&"--prompt") {
        arguments.extend(["--tokens", "1,2,3"]);
    }
    arguments.extend(more);
    let mut command = bench.command(&arguments);
    command.envs(variables.iter().copied());
    let run = finish(command);
    assert!(!bench.path("out/receipt_bitnet.json").exists());
    run
}

#[test]
fn without_repair_a_missing_lane_is_code_2_at_once_with_the_command_to_run() {
    let bench = Workbench::new();
    let run = parity(&bench, &["--no-repair"], &[]).exits(2);
    run.says("bitnet.cpp backend not found")
        .says("cargo xtask setup-cpp-auto --backend bitnet");
    // In CI nothing is built unless it is asked for.
    parity(&bench, &[], &[("CI", "true")])
        .exits(2)
        .says("repair disabled");
    bench.run(&["crossval"]).exits(2).says("setup-cpp-auto");
    bench
        .run(&["full-crossval", "--no-repair", "--no-download"])
        .exits(2)
        .says("setup-cpp-auto");
    assert!(!bench.cache().exists(), "a check writes nothing");
}

#[test]
fn a_failing_repair_has_the_codes_of_preflight() {
    let bench = Workbench::new();
    parity(&bench, &[], &[("PATH", "")])
        .exits(5)
        .says("`cmake` was not found");
    parity(&bench, &[], &[("BITNET_REPAIR_IN_PROGRESS", "1")])
        .exits(6)
        .says("a repair is already in progress");
}

/// As root, every folder is writable but those of the kernel.
#[cfg(target_os = "linux")]
#[test]
fn a_cache_that_cannot_be_written_is_code_4() {
    let bench = Workbench::new();
    parity(&bench, &[], &[("BITNET_CPP_CACHE", "/sys/bitnet")])
        .exits(4)
        .says("BITNET_CPP_CACHE");
}

/// A registry that nothing answers for: an empty cargo home behind a proxy on a port that is
/// closed.
#[cfg(unix)]
#[test]
fn a_registry_out_of_reach_is_code_3() {
    let bench = Workbench::new();
    for tool in ["cmake", "clang", "clang++", "gcc", "g++", "tar", "git"] {
        bench.put_program(&format!("tools/{tool}"), "exit 99");
    }
    let path = super::workbench::path_with(&bench.path("tools"));
    let variables = [
        ("PATH", path.to_str().expect("a PATH in UTF-8")),
        ("CARGO", env!("CARGO")),
        (
            "CARGO_HOME",
            &bench.path("cargo-home").display().to_string(),
        ),
        ("CARGO_HTTP_PROXY", &super::workbench::closed_port()),
        ("CARGO_NET_RETRY", "0"),
    ];
    parity(&bench, &[], &variables)
        .exits(3)
        .says("the network failed");
}

#[test]
fn what_cannot_be_compared_is_code_2_before_anything_is_built() {
    let bench = Workbench::new();
    for (arguments, said) in [
        (
            &["--model", "nowhere.gguf"][..],
            "Model not found: nowhere.gguf",
        ),
        (&["--cos-tol", "1.5"], "not in 0 ..= 1"),
        (
            &["--metrics", "accuracy"],
            "unknown measure `accuracy`; known are mse",
        ),
        (&["--prompt-template", "chatty"], "llama3-chat"),
        (&["--prompt", "Hi", "--tokens", "1"], "cannot be used with"),
        // A model without a tokenizer, and none beside it.
        (
            &["--prompt", "Hi", "--model", &golden("bitnet-i2_s")],
            "--tokens 1,2,3",
        ),
    ] {
        parity(&bench, arguments, &[]).exits(2).says(said);
    }
    parity(&bench, &[], &[("BITNET_SEED", "x")])
        .exits(2)
        .says("BITNET_SEED=x");
    for command in ["crossval", "full-crossval"] {
        bench
            .run(&[command, "--model", "nowhere.gguf"])
            .exits(2)
            .says("cargo xtask download-model");
    }
    let damaged = bench.path("damaged.gguf");
    std::fs::write(&damaged, "GGUF").expect("written");
    let damaged = damaged.display().to_string();
    parity(&bench, &["--model", &damaged, "--prompt", "Hi"], &[])
        .exits(2)
        .says("cargo xtask fetch-models");
    let other = format!("{}/demo/tokenizer.json", super::workbench::ROOT);
    parity(&bench, &["--prompt", "Hi", "--tokenizer", &other], &[])
        .exits(2)
        .says("1024 tokens, the model 512");
    assert!(!bench.cache().exists());
}

/// The hub is a folder without anything.
#[test]
fn a_model_that_is_missing_is_fetched_first_unless_told_otherwise() {
    let bench = Workbench::new();
    std::fs::create_dir(bench.path("hub")).expect("created");
    let run = |arguments: &[&str], variable: Option<(&str, &str)>| {
        let mut command = bench.command(arguments);
        command
            .env("BITNET_MODEL_CACHE_DIR", bench.path("models"))
            .env("HF_ENDPOINT", bench.path("hub"));
        command.envs(variable);
        finish(command)
    };
    let full = ["full-crossval", "--no-repair"];
    run(&full, None)
        .exits(14)
        .says("fetching one")
        .says("--no-download");
    // Nothing is missing, so the lanes are looked for next.
    run(&["full-crossval", "--no-repair", "--no-download"], None)
        .exits(2)
        .says("setup-cpp-auto");
    let model = golden("llama-i2_s");
    run(&full, Some(("BITNET_GGUF", &model)))
        .exits(2)
        .says("setup-cpp-auto");
}

#[test]
fn metadata_that_nobody_knows_is_a_warning_and_in_strict_mode_an_error() {
    let bench = Workbench::new();
    let mut model = std::fs::read(golden("llama-i2_s")).expect("a golden model");
    let key = b"llama.rope.dimension_count";
    let at = model.windows(key.len()).position(|bytes| bytes == key);
    model[at.expect("the key")..][..key.len()].copy_from_slice(b"llama.nope.dimension_count");
    let changed = bench.path("changed.gguf");
    std::fs::write(&changed, model).expect("written");
    let changed = changed.display().to_string();
    let arguments = ["--no-repair", "--model", &changed];
    let strict = [("BITNET_STRICT_MODE", "1")];
    parity(&bench, &arguments, &[])
        .exits(2)
        .says("warning: ")
        .says("`llama.nope.dimension_count`")
        .says("backend not found");
    let refused = parity(&bench, &arguments, &strict).exits(1);
    refused
        .says("`llama.nope.dimension_count`")
        .says("BITNET_STRICT_MODE makes this warning an error");
    // The suite says it of each model.
    bench
        .run(&[
            "full-crossval",
            "--no-repair",
            "--no-download",
            "--model",
            &changed,
        ])
        .says("warning: ");
}
