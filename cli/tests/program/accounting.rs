//! `tokens`, `price`, `pipe` and `models`: what they print is compared with files in `accounting/`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::{bitnet, output, root, stderr, stdout};

fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // The program may end before it has read all.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("written");
    output
}

/// Runs in an empty folder, with `input` on standard input.
fn run(arguments: &[&str], input: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    with_input(bitnet(folder.path()).args(arguments), input.as_bytes())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn golden(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/accounting");
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn every_output_is_the_golden_one() {
    let prices = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/accounting/prices.json");
    let prices = prices.to_str().expect("text");
    let text = "Hello, world! 你好 😀\n";
    for (name, arguments) in [
        (
            "tokens-exact.json",
            &["tokens", "--model", "gpt-4o", "--ids", "--json"][..],
        ),
        (
            "tokens-cl100k.json",
            &["tokens", "--model", "openai/gpt-4-0613", "--ids", "--json"],
        ),
        (
            "tokens-family.json",
            &["tokens", "--model", "meta/llama-3-8b", "--json"],
        ),
        (
            "tokens-heuristic.json",
            &["tokens", "--model", "generic/foo", "--json"],
        ),
        (
            "price-text.json",
            &["price", "--model", "gpt-4o", "--prices", prices, "--json"],
        ),
        (
            "price-tokens.json",
            &[
                "price",
                "--model",
                "gpt-4o-mini",
                "--prices",
                prices,
                "--input-tokens",
                "1000000",
                "--cached-tokens",
                "400000",
                "--output-tokens",
                "5000",
                "--reasoning-tokens",
                "300",
                "--json",
            ],
        ),
    ] {
        let result = run(arguments, text);
        assert!(result.status.success(), "{name}: {}", stderr(&result));
        assert_eq!(json(&stdout(&result)), json(&golden(name)), "{name}");
    }
    let lines = "{\"id\":1,\"text\":\"Hello\"}\n\n{\"text\":\"a\\nb\",\"answer\":\"yes, it is\"}\n";
    let arguments = [
        "pipe",
        "--mode",
        "price",
        "--prices",
        prices,
        "--summary",
        "--workers",
        "1",
    ];
    let result = run(&arguments, lines);
    assert!(result.status.success(), "{}", stderr(&result));
    assert_eq!(stdout(&result), golden("pipe.ndjson"));
    let summary = stderr(&result);
    let summary = summary.lines().last().expect("a summary");
    assert_eq!(json(summary), json(&golden("pipe-summary.json")));
}

#[test]
fn models_are_listed_with_their_accuracy() {
    let all = json(&stdout(&run(&["models", "--json"], "")));
    let all = all.as_array().expect("a list");
    assert!(all.len() > 20);
    for model in all {
        let accuracy = model["accuracy"].as_str().expect("a label");
        assert!(
            ["exact", "family", "heuristic"].contains(&accuracy),
            "{model}"
        );
    }
    let gpt4o = all
        .iter()
        .find(|model| model["model"] == "openai/gpt-4o")
        .expect("known");
    assert_eq!(gpt4o["usd_micros_per_million_tokens"]["input"], 2_500_000);
    assert!(stdout(&run(&["models"], "")).contains("microsoft/bitnet-b1.58-2b-4t"));
}

#[test]
fn files_are_counted_one_by_one_and_a_models_own_tokenizer_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.txt"), "ROMEO:").expect("written");
    std::fs::write(folder.path().join("b.bin"), b"x\xff\xfey").expect("written");
    let result = output(bitnet(folder.path()).args(["tokens", "a.txt", "b.bin"]));
    assert!(stdout(&result).contains("total"), "{}", stdout(&result));
    assert!(
        stderr(&result).contains("b.bin is not UTF-8 at byte 1"),
        "{}",
        stderr(&result)
    );
    let demo = super::root().join("demo/demo.gguf");
    let demo = demo.to_str().expect("text");
    let arguments = ["tokens", "--model", demo, "--ids", "--json", "a.txt"];
    let result = json(&stdout(&output(bitnet(folder.path()).args(arguments))));
    assert_eq!(result["accuracy"], "exact");
    assert_eq!(result["encoding"], "demo.gguf");
    assert_eq!(result["inputs"][0]["ids"], serde_json::json!([859, 26]));

    for (arguments, said) in [
        (&["tokens", "none.txt"][..], "file none.txt"),
        (&["tokens", "--model", "none.gguf", "a.txt"], "none.gguf"),
        (
            &["tokens", "--model", "foo", "--ids", "a.txt"],
            "there are no ids",
        ),
        (
            &["price", "--model", "foo", "a.txt"],
            "has no price for generic/foo",
        ),
        (
            &["price", "--input-tokens", "1", "--cached-tokens", "2"],
            "more than the 1 input",
        ),
        (
            &["price", "--prices", "a.txt", "--input-tokens", "1"],
            "as_of",
        ),
        (&["pipe", "none.ndjson"], "file none.ndjson"),
        (&["pipe", "--output-field", "text", "a.txt"], "are the same"),
    ] {
        let result = output(bitnet(folder.path()).args(arguments));
        assert_eq!(result.status.code(), Some(1), "{arguments:?}");
        assert!(
            stderr(&result).contains(said),
            "{arguments:?}: {}",
            stderr(&result)
        );
    }
}

#[test]
fn an_old_price_is_used_with_a_warning() {
    let result = run(
        &["price", "--model", "gpt-4-32k", "--input-tokens", "10"],
        "",
    );
    assert!(result.status.success());
    assert!(stderr(&result).contains("days ago"), "{}", stderr(&result));
}

#[test]
fn parts_of_a_request_have_their_own_rates_and_long_ones_and_batches_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let prices = folder.path().join("prices.json");
    let list = r#"{"as_of": "2026-11-01", "source": "here", "models": {"openai/gpt-4o": {
        "input": "2", "cached_input": "1", "cache_write": "3", "output": "10",
        "batch": {"input": "1", "output": "5"},
        "long_context": [{"above": 1000, "input": "4", "output": "20"}]}}}"#;
    std::fs::write(&prices, list).expect("written");
    let prices = prices.to_str().expect("text");
    let price = |more: &[&str]| {
        let arguments = [
            "price",
            "--prices",
            prices,
            "--json",
            "--output-tokens",
            "10",
        ];
        run(&[&arguments[..], more].concat(), "")
    };
    for (more, micros) in [
        (&["--input-tokens", "1000"][..], 2100),
        (&["--input-tokens", "1001"], 4204),
        (
            &[
                "--input-tokens",
                "1000",
                "--cached-tokens",
                "500",
                "--cache-write-tokens",
                "100",
            ],
            1700,
        ),
        (&["--input-tokens", "1000", "--batch"], 1050),
    ] {
        let result = price(more);
        assert!(result.status.success(), "{more:?}: {}", stderr(&result));
        assert_eq!(
            json(&stdout(&result))["cost_usd_micros"],
            micros,
            "{more:?}"
        );
    }
    for (more, said) in [
        (
            &["--input-tokens", "1001", "--batch"][..],
            "no rates for batches",
        ),
        (
            &[
                "--input-tokens",
                "5",
                "--cached-tokens",
                "3",
                "--cache-write-tokens",
                "3",
            ],
            "6 tokens",
        ),
    ] {
        let result = price(more);
        assert_eq!(result.status.code(), Some(1), "{more:?}");
        assert!(
            stderr(&result).contains(said),
            "{more:?}: {}",
            stderr(&result)
        );
    }
}

#[test]
fn lists_that_others_publish_are_price_lists() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, list) in [
        (
            "litellm.json",
            r#"{"gpt-4o": {"input_cost_per_token": 7e-06, "output_cost_per_token": 1e-05}}"#,
        ),
        (
            "openrouter.json",
            r#"{"data": [{"id": "openai/gpt-4o", "pricing": {"prompt": "0.000007", "completion": "0.00001"}}]}"#,
        ),
        (
            "models-dev.json",
            r#"{"openai": {"models": {"gpt-4o": {"cost": {"input": 7, "output": 10}}}}}"#,
        ),
    ] {
        std::fs::write(folder.path().join(name), list).expect("written");
        let arguments = ["price", "--prices", name, "--input-tokens", "10", "--json"];
        let result = output(bitnet(folder.path()).args(arguments));
        assert!(result.status.success(), "{name}: {}", stderr(&result));
        let result = json(&stdout(&result));
        assert_eq!(result["cost_usd_micros"], 70, "{name}");
        assert_ne!(result["prices_source"], "", "{name}");
    }
}

#[test]
fn a_price_is_that_of_the_very_name_in_a_list_else_of_the_model() {
    let folder = tempfile::tempdir().expect("a folder");
    let list = r#"{"gpt-4o": {"input_cost_per_token": 7e-06, "output_cost_per_token": 1e-05},
        "azure/gpt-4o": {"input_cost_per_token": 9e-06, "output_cost_per_token": 1e-05},
        "my-model": {"input_cost_per_token": 1e-06, "output_cost_per_token": 1e-05}}"#;
    std::fs::write(folder.path().join("list.json"), list).expect("written");
    for (model, cost) in [
        ("gpt-4o", 70),
        ("openai/gpt-4o", 70),
        ("openrouter/openai/gpt-4o", 70),
        ("azure/gpt-4o", 90),
        ("my-model", 10),
    ] {
        let arguments = [
            "price",
            "--prices",
            "list.json",
            "--input-tokens",
            "10",
            "--json",
        ];
        let result = output(
            bitnet(folder.path())
                .args(arguments)
                .args(["--model", model]),
        );
        assert!(result.status.success(), "{model}: {}", stderr(&result));
        assert_eq!(json(&stdout(&result))["cost_usd_micros"], cost, "{model}");
    }
}

#[test]
fn models_of_other_providers_are_priced_and_labelled_as_estimates() {
    for model in [
        "claude-sonnet-4-5",
        "gemini/gemini-2.5-pro",
        "mistral-large-latest",
        "deepseek-chat",
        "qwen3-max",
    ] {
        let result = run(&["price", "--model", model, "--json"], "Hello, world!");
        assert!(result.status.success(), "{model}: {}", stderr(&result));
        assert_eq!(json(&stdout(&result))["accuracy"], "heuristic", "{model}");
    }
}

#[test]
fn arguments_that_begin_with_a_dash_are_values() {
    let line = "{\"- item\":\"x\",\"--\":\"y\"}\n";
    let result = run(&["pipe", "--field", "- item", "--output-field", "--"], line);
    assert!(result.status.success(), "{}", stderr(&result));
    assert_eq!(json(&stdout(&result))["tokens_output"], 1);
    for arguments in [&["tokens", "--model", "-x"][..], &["tokens", "-m", "--odd"]] {
        let result = run(arguments, "abcd");
        assert_eq!(
            (result.status.code(), stdout(&result).trim()),
            (Some(0), "1")
        );
    }
    let result = run(&["price", "--model", "-x", "--input-tokens", "1"], "");
    assert_eq!(result.status.code(), Some(1));
    assert!(
        stderr(&result).contains("no price for generic/-x"),
        "{}",
        stderr(&result)
    );
}

#[test]
fn a_line_that_is_no_utf8_is_a_problem_of_that_line_and_the_others_come_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = |input: &[u8], more: &[&str]| {
        let mut command = bitnet(folder.path());
        with_input(command.arg("pipe").args(more), input)
    };
    // The second time through, the first line has keys that are to be replaced.
    let input =
        b"{\"text\":\"x\",\"name\":\"Andr\xe9\",\"accuracy\":1}\n{\"text\":\"y\"}\n".repeat(5000);
    let result = pipe(&input, &[]);
    assert_eq!(result.status.code(), Some(1));
    assert!(
        stderr(&result).contains("line 1: column 25: no UTF-8"),
        "{}",
        stderr(&result)
    );
    let skipping = ["--on-error", "skip", "--workers", "3", "--summary"];
    let result = pipe(&input, &skipping);
    assert_eq!(result.status.code(), Some(0));
    assert_eq!(stdout(&result).lines().count(), 5000);
    let again = pipe(stdout(&result).as_bytes(), &skipping);
    assert_eq!(stdout(&again), stdout(&result));
}

#[test]
fn half_a_surrogate_pair_and_a_mark_before_the_file_cost_no_line() {
    let input = "\u{feff}{\"id\":1,\"text\":\"ok\"}\n{\"id\":2,\"text\":\"bad \\ud83d x\"}\n{\"id\":3,\"text\":\"after\"}\n";
    let result = run(&["pipe"], input);
    assert_eq!(result.status.code(), Some(0), "{}", stderr(&result));
    let out = stdout(&result);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("{\"id\":1,"));
    assert!(lines[1].starts_with("{\"id\":2,\"text\":\"bad \\ud83d x\",\"tokens_input\":"));
    let replaced = run(&["tokens"], "bad \u{fffd} x");
    let expected = format!("\"tokens_input\":{},", stdout(&replaced).trim());
    assert!(lines[1].contains(&expected), "{}", lines[1]);
}

#[test]
fn a_number_of_workers_that_no_machine_has_is_refused() {
    for workers in ["0", "257", "18446744073709551615", "-1"] {
        let result = run(&["pipe", "--workers", workers], "");
        assert_eq!(result.status.code(), Some(2), "{workers}");
    }
    assert_eq!(
        run(&["pipe", "--workers", "256"], &lines(3)).status.code(),
        Some(0)
    );
}

/// Lines of texts of every length, some with several kinds of characters.
fn lines(count: usize) -> String {
    (0..count)
        .map(|i| {
            let text = "Where art thou, Romeo? ".repeat(i % 7) + &"é\n".repeat(i % 3);
            serde_json::json!({"id": i, "text": text}).to_string() + "\n"
        })
        .collect()
}

/// Dollars as they are written, in whole numbers.
fn picodollars(cost: &Value) -> u64 {
    let (dollars, fraction) = cost
        .as_str()
        .and_then(|cost| cost.split_once('.'))
        .expect("dollars");
    format!("{dollars}{fraction:0<12}")
        .parse()
        .expect("a number")
}

#[test]
fn the_summary_is_the_sum_of_the_lines_under_any_number_of_workers() {
    let input = lines(20_000);
    let mut first = None;
    for workers in ["1", "2", "7"] {
        let result = run(
            &["pipe", "--workers", workers, "--summary", "--mode", "price"],
            &input,
        );
        assert!(result.status.success());
        let summary = stderr(&result);
        let summary = json(summary.lines().last().expect("a summary"));
        let out: Vec<Value> = stdout(&result).lines().map(json).collect();
        let sum = |value: fn(&Value) -> u64| -> u64 { out.iter().map(value).sum() };
        let tokens = sum(|line| line["tokens_input"].as_u64().expect("tokens"));
        let cost = sum(|line| picodollars(&line["cost_usd"]));
        assert_eq!(out.len(), 20_000);
        assert_eq!(summary["rows"], 20_000);
        assert_eq!(summary["tokens_input"], tokens);
        assert_eq!(picodollars(&summary["cost_usd"]), cost);
        assert!(
            out.iter()
                .enumerate()
                .all(|(i, line)| line["id"] == i && line["accuracy"] == "exact")
        );
        let all = (stdout(&result), summary);
        assert_eq!(*first.get_or_insert_with(|| all.clone()), all);
    }
}

#[test]
fn a_quota_stops_before_the_line_that_would_exceed_it() {
    let input = "{\"text\":\"one two three four\"}\n".repeat(100);
    for (quota, amount, rows) in [
        ("--max-tokens", "41", 10),
        ("--max-tokens", "40", 10),
        ("--max-tokens", "3", 0),
        // Four tokens of 2.50 dollars a million cost 10 micro-dollars.
        ("--max-cost", "0.000051", 5),
    ] {
        let arguments = ["pipe", "--workers", "4", "--summary", quota, amount];
        let result = run(&arguments, &input);
        assert_eq!(result.status.code(), Some(3), "{arguments:?}");
        assert_eq!(stdout(&result).lines().count(), rows, "{arguments:?}");
        let text = stderr(&result);
        assert!(
            text.contains(&format!("line {}: it would exceed", rows + 1)),
            "{text}"
        );
        let summary = text
            .lines()
            .find(|line| line.starts_with('{'))
            .expect("a summary");
        assert_eq!(json(summary)["tokens_input"], rows * 4);
    }
    let result = run(&["pipe", "--max-tokens", "400"], &input);
    assert_eq!(
        (result.status.code(), stdout(&result).lines().count()),
        (Some(0), 100)
    );
}

#[test]
fn costs_below_a_micro_dollar_add_up_and_count_towards_the_quota() {
    let input = "{\"text\":\"x\"}\n".repeat(100);
    let prices = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/accounting/prices.json");
    let prices = prices.to_str().expect("text");
    // A token of 0.15 dollars a million.
    let arguments = [
        "pipe",
        "--model",
        "gpt-4o-mini",
        "--prices",
        prices,
        "--summary",
    ];
    let priced = run(&[&arguments[..], &["--mode", "price"]].concat(), &input);
    let line = r#"{"text":"x","tokens_input":1,"cost_usd":"0.00000015","accuracy":"exact"}"#;
    assert_eq!(stdout(&priced), format!("{line}\n").repeat(100));
    let summary = |result: &Output| {
        json(
            stderr(result)
                .lines()
                .find(|l| l.starts_with('{'))
                .expect("one"),
        )
    };
    assert_eq!(summary(&priced)["cost_usd"], "0.000015");
    assert_eq!(summary(&priced)["cost_usd_micros"], 15);

    let result = run(
        &[&arguments[..], &["--max-cost", "0.000001"]].concat(),
        &input,
    );
    assert_eq!(result.status.code(), Some(3));
    assert_eq!(summary(&result)["rows"], 6);
    assert_eq!(summary(&result)["cost_usd"], "0.0000009");
}

#[test]
fn only_what_pipe_wrote_is_replaced_in_a_line() {
    let line = "{\"model\":\"mine\",\"encoding\":7,\"text\":\"x\"}\n";
    let once = stdout(&run(&["pipe"], line));
    let wanted = r#"{"model":"mine","encoding":7,"text":"x","tokens_input":1,"accuracy":"exact"}"#;
    assert_eq!(once, format!("{wanted}\n"));
    assert_eq!(stdout(&run(&["pipe"], &once)), once);
    let result = run(&["pipe", "--field", "accuracy"], &once);
    assert_eq!(result.status.code(), Some(1));
    assert!(
        stderr(&result).contains("`accuracy`"),
        "{}",
        stderr(&result)
    );
}

#[test]
fn a_bad_line_is_reported_by_its_number_and_never_lost_silently() {
    let good = lines(3000);
    let input = format!("{good}{{\"text\": tru}}\n{good}{{\"id\":1}}\n{good}");
    let result = run(&["pipe", "--workers", "2"], &input);
    assert_eq!(result.status.code(), Some(1));
    assert_eq!(stdout(&result).lines().count(), 3000);
    assert!(
        stderr(&result).contains("line 3001: column"),
        "{}",
        stderr(&result)
    );

    let result = run(
        &["pipe", "--workers", "2", "--on-error", "skip", "--summary"],
        &input,
    );
    assert_eq!(result.status.code(), Some(0));
    assert_eq!(stdout(&result).lines().count(), 9000);
    let text = stderr(&result);
    assert!(text.contains("line 3001: "), "{text}");
    assert!(
        text.contains("line 6002: there is no field `text`; skipped"),
        "{text}"
    );
    let summary = json(text.lines().last().expect("a summary"));
    assert_eq!(
        (&summary["rows"], &summary["skipped"]),
        (&9000.into(), &2.into())
    );
}

#[cfg(unix)]
#[test]
fn after_a_closed_pipe_or_ctrl_c_the_lines_that_were_written_are_whole() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().expect("a folder");
    let start = || {
        bitnet(folder.path())
            .args(["pipe", "--workers", "2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts")
    };
    // The reader goes away.
    let mut child = start();
    let mut stdin = child.stdin.take().expect("a pipe");
    let writer = std::thread::spawn(
        move || {
            while stdin.write_all(lines(1000).as_bytes()).is_ok() {}
        },
    );
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    for i in 0..500 {
        let mut line = String::new();
        reader.read_line(&mut line).expect("read");
        assert_eq!(json(&line)["id"], i);
    }
    drop(reader);
    assert_eq!(child.wait().expect("it ends").code(), Some(141));
    writer.join().expect("it ends");

    // Ctrl-C, while it waits for more.
    let mut child = start();
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(lines(100).as_bytes()).expect("written");
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    reader
        .read_line(&mut line)
        .expect("a line came while more may follow");
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill is there").success());
    for rest in reader.lines() {
        json(&rest.expect("read"));
    }
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}

#[test]
fn counts_by_a_doubtful_tokenizer_are_not_exact() {
    // Without the rule by which texts are cut into words.
    let mut model = std::fs::read(root().join("demo/demo.gguf")).expect("the demo model");
    let key = b"tokenizer.ggml.pre";
    let at = model.windows(key.len()).position(|found| found == key);
    model[at.expect("it is there") + key.len() - 1] = b'x';
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("x.gguf"), model).expect("written");
    for (strict, code) in [("0", 0), ("1", 1)] {
        let mut command = bitnet(folder.path());
        command.args(["tokens", "--model", "x.gguf", "--json"]);
        let result = with_input(command.env("BITNET_STRICT_MODE", strict), b"Hello");
        assert_eq!(result.status.code(), Some(code), "{}", stderr(&result));
        if code == 0 {
            let said = stderr(&result);
            assert!(said.contains("ids and counts may differ"), "{said}");
            assert_eq!(json(&stdout(&result))["accuracy"], "family");
        }
    }
}
