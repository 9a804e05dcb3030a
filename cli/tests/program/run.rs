//! Text from prompts.

use crate::{bitnet, golden, output, root, stderr, stdout};

#[test]
fn the_demo_model_continues_a_prompt_as_its_reference_does_and_says_that_it_is_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let result = output(bitnet(folder.path()).args([
        "run",
        "--device",
        "cpu",
        "--kv",
        "f32",
        "--prompt",
        "ROMEO:\nWhat light",
        "--max-tokens",
        "16",
        "--json",
    ]));
    assert!(result.status.success(), "{}", stderr(&result));
    assert!(
        stderr(&result).contains("demo model that ships"),
        "{}",
        stderr(&result)
    );
    let json: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
    assert_eq!(
        json["prompt_tokens"],
        serde_json::json!([859, 26, 199, 462, 360, 349])
    );
    let greedy = [
        83, 419, 363, 12, 324, 335, 7, 273, 292, 356, 841, 31, 199, 199, 34, 350,
    ];
    assert_eq!(json["tokens"], serde_json::json!(greedy));
    assert_eq!(json["text"], "s are this, that e'er I have done?\n\nBEN");
    assert_eq!(json["stop"], "max_tokens");
    assert!(
        json["kernels"]
            .as_object()
            .is_some_and(|kernels| kernels.keys().any(|name| name.contains("i2s")))
    );
}

#[test]
fn a_seed_fixes_the_draw() {
    let folder = tempfile::tempdir().unwrap();
    let run = |seed: &str| {
        let args = [
            "run",
            "--device",
            "cpu",
            "--prompt",
            "KING",
            "--temperature",
            "1",
            "--max-tokens",
            "24",
            "--seed",
            seed,
        ];
        stdout(&output(bitnet(folder.path()).args(args)))
    };
    assert_eq!(run("7"), run("7"));
    assert_ne!(run("7"), run("8"));
}

#[test]
fn a_stop_text_ends_the_text_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let result = output(bitnet(folder.path()).args([
        "run",
        "--device",
        "cpu",
        "--prompt",
        "ROMEO:\nWhat light",
        "--kv",
        "f32",
        "--stop",
        "e'er",
        "--quiet",
    ]));
    assert_eq!(stdout(&result), "s are this, that \n");
}

#[test]
fn a_prompt_comes_from_a_file_or_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prompt.txt");
    std::fs::write(&file, "ROMEO:\nWhat light").unwrap();
    let args = ["run", "--device", "cpu", "--max-tokens", "4", "--quiet"];
    let from_file = output(
        bitnet(folder.path())
            .args(args)
            .arg("--prompt-file")
            .arg(&file),
    );
    let piped = output(
        bitnet(folder.path())
            .args(args)
            .stdin(std::fs::File::open(&file).unwrap()),
    );
    assert_eq!(stdout(&from_file), "s are this,\n");
    assert_eq!(stdout(&piped), stdout(&from_file));
}

#[test]
fn no_tokens_asked_for_is_no_text_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let result = output(bitnet(folder.path()).args([
        "run",
        "--device",
        "cpu",
        "--prompt",
        "x",
        "--max-tokens",
        "0",
    ]));
    assert!(result.status.success());
    assert_eq!(stdout(&result), "");
    assert!(
        stderr(&result).contains("0 generated"),
        "{}",
        stderr(&result)
    );
}

#[test]
fn inspect_and_compat_check_know_the_golden_models() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b158-i2_s", "bitnet-tq1_0", "llama-tq2_0"] {
        let file = golden(&format!("{name}.gguf"));
        let result = output(bitnet(folder.path()).arg("inspect").arg(&file));
        assert!(
            stdout(&result).contains("blk.2.ffn_down.weight"),
            "{}",
            stdout(&result)
        );
        let result = output(bitnet(folder.path()).args(["inspect", "--json"]).arg(&file));
        let json: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
        assert_eq!(json["metadata"]["general.name"], "synthetic");
        let result = output(bitnet(folder.path()).arg("compat-check").arg(&file));
        assert!(
            result.status.success() && stdout(&result).contains("runs here"),
            "{}",
            stdout(&result)
        );
    }
    let result = output(
        bitnet(folder.path())
            .arg("inspect")
            .arg(root().join("demo/demo.gguf")),
    );
    assert!(
        stdout(&result).contains("gpt2 byte-level BPE (gpt-2), 1024 tokens"),
        "{}",
        stdout(&result)
    );
}

#[test]
fn inspect_finds_the_tokenizer_as_run_does_and_reads_a_tokenizers_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("models/any/model.gguf");
    std::fs::create_dir_all(model.parent().unwrap()).unwrap();
    std::fs::copy(golden("bitnet-i2_s.gguf"), &model).unwrap();
    let inspect = |file: &str| {
        output(
            bitnet(folder.path())
                .args(["inspect", "--json", file])
                .env("RUST_LOG", "debug"),
        )
    };
    let result = inspect("models/any/model.gguf");
    let json: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
    assert_eq!(json["tokenizer"], serde_json::Value::Null);
    let problem = json["tokenizer_error"].as_str().unwrap();
    assert!(
        problem.contains("models/tokenizer.json: not found"),
        "{problem}"
    );

    let tokenizer = r#"{"version":"1.0","truncation":null,"padding":null,"normalizer":null,"pre_tokenizer":null,
        "post_processor":null,"decoder":null,"added_tokens":[],
        "model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]}}"#;
    std::fs::write(folder.path().join("models/tokenizer.json"), tokenizer).unwrap();
    let result = inspect("models/any/model.gguf");
    let json: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
    assert_eq!(json["tokenizer_source"], "auto_discovered");
    assert_eq!(json["tokenizer_path"], "models/tokenizer.json");
    assert!(
        stderr(&result).contains("models/any/tokenizer.json (not found)"),
        "{}",
        stderr(&result)
    );

    let json: serde_json::Value =
        serde_json::from_str(&stdout(&inspect("models/tokenizer.json"))).unwrap();
    assert_eq!(json["tokens"], 2);
    std::fs::write(folder.path().join("models/tokenizer.json"), "{}").unwrap();
    let result = inspect("models/tokenizer.json");
    assert_eq!(result.status.code(), Some(1));
    assert!(
        stderr(&result).contains("models/tokenizer.json"),
        "{}",
        stderr(&result)
    );
}

#[test]
fn bench_measures_what_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let result = output(bitnet(folder.path()).args([
        "bench",
        "--device",
        "cpu",
        "--prompt-tokens",
        "8",
        "--gen-tokens",
        "4",
        "--depth",
        "3",
        "--sequences",
        "2",
        "--repetitions",
        "1",
        "--profile",
        "--json",
    ]));
    assert!(result.status.success(), "{}", stderr(&result));
    let json: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
    let positive = |value: &serde_json::Value, name: &str| {
        let value = value.as_f64();
        assert!(value.is_some_and(|value| value > 0.0), "{name}: {json}");
        value.unwrap()
    };
    for key in [
        "load_seconds",
        "first_token_seconds",
        "read_bandwidth_bytes_per_second",
        "int8_multiply_adds_per_second",
    ] {
        positive(&json[key], key);
    }
    let mut layers = Vec::new();
    for phase in ["prefill", "decode"] {
        let speed = positive(&json[format!("{phase}_tokens_per_second")], phase);
        let detail = &json[phase];
        let about = |ours: f64, wanted: f64| assert!((ours / wanted - 1.0).abs() < 1e-9, "{json}");
        for (amount, rate, share, limit) in [
            (
                "bytes_per_token",
                "bytes_per_second",
                "share_of_read_bandwidth",
                "read_bandwidth_bytes_per_second",
            ),
            (
                "multiply_adds_per_token",
                "multiply_adds_per_second",
                "share_of_int8_peak",
                "int8_multiply_adds_per_second",
            ),
        ] {
            let per_second = positive(&detail[rate], rate);
            about(per_second, positive(&detail[amount], amount) * speed);
            about(
                positive(&detail[share], share),
                per_second / positive(&json[limit], limit),
            );
        }
        let steps = detail["profile"].as_array().unwrap();
        let step = |name: &str| steps.iter().find(|step| step["step"] == name);
        assert!(step("head token_embd").is_some(), "{json}");
        layers.push(step("attention").unwrap()["count"].as_u64().unwrap());
    }
    // One pass of prefill, four of decode.
    assert_eq!(layers[1], 4 * layers[0], "{json}");
    assert!(!json["kernels"].as_object().unwrap().is_empty(), "{json}");
    let text = output(bitnet(folder.path()).args([
        "bench",
        "--device",
        "cpu",
        "--prompt-tokens",
        "0",
        "--gen-tokens",
        "2",
        "--repetitions",
        "1",
    ]));
    for part in [
        "reads at most",
        "prefill 0",
        "not measured",
        "MB/token",
        "% of the most",
    ] {
        assert!(stdout(&text).contains(part), "{part}: {}", stdout(&text));
    }
}

#[test]
fn a_template_puts_the_prompt_in_its_place_and_auto_says_how_it_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let start = [
            "run",
            "--device",
            "cpu",
            "--prompt",
            "Hi",
            "--max-tokens",
            "1",
            "--json",
        ];
        let result = output(bitnet(folder.path()).args(start.iter().chain(more)));
        assert!(result.status.success(), "{}", stderr(&result));
        let json: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
        (json, stderr(&result))
    };
    let (json, _) = run(&[]);
    assert_eq!(
        (&json["prompt"], &json["prompt_template"]),
        (&"Hi".into(), &"raw".into())
    );
    let (json, _) = run(&[
        "--prompt-template",
        "instruct",
        "--system-prompt",
        "Be brief.",
    ]);
    assert_eq!(
        json["prompt"],
        "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST]"
    );
    // A part of a conversation that a template writes nowhere is no part of a prompt in silence.
    std::fs::write(
        folder.path().join("mute.jinja"),
        "{{ messages[-1].content }}",
    )
    .unwrap();
    let mut command = bitnet(folder.path());
    command.args(["run", "--prompt", "Hi", "--prompt-template", "mute.jinja"]);
    let result = output(command.args(["--system-prompt", "Be brief."]));
    assert_eq!(result.status.code(), Some(1));
    let said = stderr(&result);
    assert!(
        said.contains("has no place for `messages[0].content`"),
        "{said}"
    );
    let (json, said) = run(&["--prompt-template", "auto"]);
    assert_eq!(json["prompt_template"], "raw");
    assert!(
        said.contains("template: raw (the model has no chat template"),
        "{said}"
    );
}

#[test]
fn a_conversation_goes_on_where_it_was() {
    use std::io::Write;
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    let chat = |input: &str| {
        let mut child = bitnet(folder.path())
            .args(["chat", "--prompt-template", "raw", "--max-tokens", "6"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let result = child.wait_with_output().unwrap();
        assert!(result.status.success(), "{}", stderr(&result));
        stdout(&result)
    };
    let first = chat("ROMEO:\n");
    let both = chat("ROMEO:\n\nJULIET:\n");
    let second = both.strip_prefix(&first).expect("the same first answer");
    // The second answer knows the first turn: it is not that of a conversation that begins with it.
    assert_ne!(second, chat("JULIET:\n"));
    // It is what follows the whole text so far.
    let text = format!("ROMEO:{}JULIET:", first.strip_suffix('\n').unwrap());
    let whole = output(bitnet(folder.path()).args(["run", "--prompt", &text, "--max-tokens", "6"]));
    assert_eq!(stdout(&whole).trim_end(), second.trim_end());
}
