//! What goes wrong is said, with what to do, and the right exit code.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::{bitnet, golden, output, root, stderr, stdout};

/// A folder with the demo model as `model.gguf`, changed by `change`.
fn changed(change: impl FnOnce(&mut Vec<u8>)) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(root().join("demo/demo.gguf")).unwrap();
    change(&mut bytes);
    let file = folder.path().join("model.gguf");
    std::fs::write(&file, bytes).unwrap();
    (folder, file)
}

fn find(bytes: &[u8], text: &str) -> usize {
    bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
        .expect("the text is in the file")
}

/// Runs the model and checks that it ends with code 1 and a message with all of `wanted`.
fn refused(folder: &Path, model: &Path, wanted: &[&str]) {
    let result = output(
        bitnet(folder)
            .args(["run", "--device", "cpu", "--prompt", "x", "--model"])
            .arg(model),
    );
    let message = stderr(&result);
    assert_eq!(result.status.code(), Some(1), "{message}");
    for wanted in wanted {
        assert!(message.contains(wanted), "{wanted:?} is not in {message}");
    }
    assert!(!message.contains("panicked"), "{message}");
}

#[test]
fn files_that_are_no_models_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    refused(
        at,
        &at.join("none.gguf"),
        &["none.gguf", "Model not found", "download-model"],
    );
    refused(at, at, &["directory"]);
    let empty = at.join("empty.gguf");
    std::fs::write(&empty, "").unwrap();
    refused(at, &empty, &["empty.gguf", "empty"]);
    let html = at.join("page.gguf");
    std::fs::write(&html, "<!doctype html><title>404</title>").unwrap();
    refused(at, &html, &["page.gguf", "not a GGUF file", "fetch-models"]);
}

#[test]
fn a_truncated_file_is_named() {
    for len in [10, 300, 20_000, 100_000, 1_000_000] {
        let (folder, file) = changed(|bytes| bytes.truncate(len));
        refused(
            folder.path(),
            &file,
            &["model.gguf", "byte", "download-model"],
        );
    }
}

#[test]
fn an_unknown_architecture_is_named() {
    let (folder, file) = changed(|bytes| {
        let at = find(bytes, "bitnet-b1.58");
        bytes[at..at + 12].copy_from_slice(b"mamba-abcdef");
    });
    refused(folder.path(), &file, &["`mamba-abcdef`", "bitnet-b1.58"]);
    let result = output(bitnet(folder.path()).arg("compat-check").arg(&file));
    assert_eq!(result.status.code(), Some(1));
    assert!(
        stdout(&result).contains("`mamba-abcdef`"),
        "{}",
        stdout(&result)
    );
}

/// Where the description of a tensor goes on behind its name: dimensions, then type.
fn behind_name(bytes: &[u8], name: &str) -> usize {
    find(bytes, name) + name.len()
}

#[test]
fn an_unsupported_tensor_type_is_named_by_id_and_name() {
    let (folder, file) = changed(|bytes| {
        let at = behind_name(bytes, "blk.3.attn_q.weight") + 4 + 16;
        bytes[at..at + 4].copy_from_slice(&19_u32.to_le_bytes());
    });
    refused(
        folder.path(),
        &file,
        &["blk.3.attn_q.weight", "19", "IQ1_S"],
    );
}

#[test]
fn rows_that_hold_no_whole_blocks_are_named() {
    let (folder, file) = changed(|bytes| {
        let at = behind_name(bytes, "blk.3.attn_q.weight") + 4;
        bytes[at..at + 8].copy_from_slice(&192_u64.to_le_bytes());
    });
    refused(
        folder.path(),
        &file,
        &["blk.3.attn_q.weight", "I2_S", "192", "multiple of 128"],
    );
}

#[test]
fn a_code_that_no_ternary_weight_has_is_found() {
    let (folder, file) = changed(|bytes| {
        let at = bytes.len() - 2000;
        bytes[at] = 0xff;
    });
    let result = output(bitnet(folder.path()).arg("compat-check").arg(&file));
    assert_eq!(result.status.code(), Some(1), "{}", stdout(&result));
    assert!(
        stdout(&result).contains("code 3") && stdout(&result).contains("ffn_down"),
        "{}",
        stdout(&result)
    );
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let result = output(
        bitnet(folder.path())
            .args(["run", "--device", "cpu", "--prompt", "x", "--model"])
            .arg(golden("llama-i2_s.gguf"))
            .arg("--tokenizer")
            .arg(root().join("demo/tokenizer.json")),
    );
    assert_eq!(result.status.code(), Some(1));
    assert!(
        stderr(&result).contains("1024 tokens, the model 512"),
        "{}",
        stderr(&result)
    );
}

#[test]
fn a_model_without_a_tokenizer_says_where_one_may_be() {
    let folder = tempfile::tempdir().unwrap();
    refused(
        folder.path(),
        &golden("bitnet-i2_s.gguf"),
        &["okenizer", "tokenizer.json", "--tokenizer"],
    );
}

#[test]
fn a_prompt_longer_than_the_context_says_both_lengths() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = "To be, or not to be. ".repeat(100);
    let result =
        output(bitnet(folder.path()).args(["run", "--device", "cpu", "--prompt", &prompt]));
    assert_eq!(result.status.code(), Some(1));
    let message = stderr(&result);
    assert!(
        message.contains("context of 256") && message.contains("shorten"),
        "{message}"
    );
}

#[test]
fn values_out_of_range_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (args, code, wanted) in [
        (&["--temperature", "-1"][..], 1, "temperature is -1"),
        (&["--temperature=nan"], 1, "temperature"),
        (&["--top-p", "0"], 1, "top-p"),
        (&["--threads", "0"], 2, "--threads"),
        (&["--numa", "mirror"], 2, "distribute, isolate"),
        (&["--device", "tpu"], 2, "auto, cpu, gpu"),
        (&["--prompt-file", "absent.txt"], 2, "--prompt-file"),
    ] {
        let result = output(
            bitnet(folder.path())
                .args(["run", "--prompt", "x"])
                .args(args),
        );
        assert_eq!(
            result.status.code(),
            Some(code),
            "{args:?}: {}",
            stderr(&result)
        );
        assert!(
            stderr(&result).contains(wanted),
            "{args:?}: {}",
            stderr(&result)
        );
    }
    let result = output(bitnet(folder.path()).args(["run", "--prompt", ""]));
    assert!(stderr(&result).contains("no tokens"), "{}", stderr(&result));
    let result =
        output(bitnet(folder.path()).args(["logits", "--tokens", "1,5000", "--out", "x.f32"]));
    assert!(
        stderr(&result).contains("token 5000"),
        "{}",
        stderr(&result)
    );
    let result = output(
        bitnet(folder.path())
            .args(["run", "--prompt", "x"])
            .env("BITNET_ISA", "mmx"),
    );
    assert!(
        stderr(&result).contains("`mmx`") && stderr(&result).contains("scalar"),
        "{}",
        stderr(&result)
    );
}

#[cfg(target_os = "linux")]
#[test]
fn more_pinned_threads_than_cpus_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--device", "cpu", "--threads", "1024", "--pin"];
    let result = output(
        bitnet(folder.path())
            .args(["run", "--prompt", "x"])
            .args(args),
    );
    assert_eq!(result.status.code(), Some(1));
    let message = stderr(&result);
    assert!(
        message.contains("1024 threads") && message.contains("--threads"),
        "{message}"
    );
}

#[cfg(not(feature = "gpu"))]
#[test]
fn a_gpu_that_is_not_built_in_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let result = output(bitnet(folder.path()).args(["run", "--prompt", "x", "--device", "gpu"]));
    assert_eq!(result.status.code(), Some(1));
    assert!(
        stderr(&result).contains("--features gpu"),
        "{}",
        stderr(&result)
    );
}

#[cfg(unix)]
#[test]
fn a_closed_pipe_ends_it_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = bitnet(folder.path())
        .args([
            "run",
            "--device",
            "cpu",
            "--prompt",
            "ROMEO:",
            "--max-tokens",
            "200",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let result = child.wait_with_output().unwrap();
    assert_eq!(result.status.code(), Some(141), "{}", stderr(&result));
    assert!(!stderr(&result).contains("error"), "{}", stderr(&result));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_text_and_keeps_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    // The slowest way, so that there is time to interrupt.
    let mut child = bitnet(folder.path())
        .args([
            "run",
            "--device",
            "cpu",
            "--threads",
            "1",
            "--prompt",
            "ROMEO:",
            "--max-tokens",
            "250",
        ])
        .env("BITNET_ISA", "scalar")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    let kill = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    let mut written = first.to_vec();
    stdout.read_to_end(&mut written).unwrap();
    let result = child.wait_with_output().unwrap();
    // On a fast machine the text may have ended before the signal came.
    match result.status.code() {
        Some(130) => assert!(
            stderr(&result).contains("interrupted"),
            "{}",
            stderr(&result)
        ),
        code => assert_eq!(code, Some(0), "{}", stderr(&result)),
    }
    assert!(
        written.ends_with(b"\n"),
        "{}",
        String::from_utf8_lossy(&written)
    );
}

/// Where the value of a `u32` under this key of a file lies.
fn value_of(bytes: &[u8], key: &str) -> usize {
    find(bytes, key) + key.len() + 4
}

#[test]
fn compat_check_refuses_what_run_refuses() {
    // The tokenizer has more tokens than the model.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    std::fs::copy(golden("bitnet-i2_s.gguf"), &file).unwrap();
    std::fs::copy(
        root().join("demo/tokenizer.json"),
        folder.path().join("tokenizer.json"),
    )
    .unwrap();
    refused(folder.path(), &file, &["1024 tokens, the model 512"]);
    let result = output(bitnet(folder.path()).arg("compat-check").arg(&file));
    assert_eq!(result.status.code(), Some(1), "{}", stdout(&result));
    let said = stdout(&result);
    assert!(
        said.contains("problem: the tokenizer has 1024 tokens"),
        "{said}"
    );
}

#[test]
fn a_number_that_is_none_is_found() {
    let demo = bitnet_engine::gguf::Gguf::open(root().join("demo/demo.gguf")).unwrap();
    for (name, value, at) in [
        ("output_norm.weight", f32::NAN, 4),
        ("blk.0.attn_norm.weight", f32::NEG_INFINITY, 0),
        ("blk.1.ffn_sub_norm.weight", f32::INFINITY, 8),
    ] {
        let offset = demo.tensor(name).expect("the demo has it").offset as usize + at;
        let (folder, file) = changed(|bytes| {
            bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        });
        let result = output(bitnet(folder.path()).arg("compat-check").arg(&file));
        assert_eq!(result.status.code(), Some(1), "{}", stdout(&result));
        let said = stdout(&result);
        assert!(
            said.contains(&format!("problem: tensor `{name}`")),
            "{said}"
        );
    }
}

#[test]
fn what_becomes_of_each_key_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let file = golden("llama-i2_s.gguf");
    let result = output(bitnet(folder.path()).arg("compat-check").arg(&file));
    let said = stdout(&result);
    assert!(
        said.contains("key `llama.context_length`: honoured\n"),
        "{said}"
    );
    assert!(said.contains("key `general.name`: no effect, "), "{said}");
    let result = output(bitnet(folder.path()).arg("inspect").arg(&file));
    let said = stdout(&result);
    assert!(
        said.contains("(honoured)") && said.contains("(no effect: "),
        "{said}"
    );
    let result = output(bitnet(folder.path()).args(["inspect", "--json"]).arg(&file));
    let json: serde_json::Value = serde_json::from_str(&stdout(&result)).unwrap();
    assert_eq!(json["keys"]["llama.context_length"]["fate"], "honoured");
}

#[test]
fn layers_that_are_not_there_cost_no_memory_and_few_words() {
    for layers in [16_777_216_u32, 65_536] {
        let (folder, file) = changed(|bytes| {
            let at = value_of(bytes, "bitnet-b1.58.block_count");
            bytes[at..at + 4].copy_from_slice(&layers.to_le_bytes());
        });
        refused(folder.path(), &file, &["block_count", &layers.to_string()]);
        let result = output(bitnet(folder.path()).arg("compat-check").arg(&file));
        assert_eq!(result.status.code(), Some(1));
        assert!(
            result.stdout.len() < 20_000,
            "{} bytes",
            result.stdout.len()
        );
    }
}

#[test]
fn a_name_cannot_fake_a_line_or_command_a_terminal() {
    let (folder, file) = changed(|bytes| {
        let at = find(bytes, "blk.3.attn_q.weight");
        bytes[at..at + 19].copy_from_slice(b"\x1b[2J\nproblem: fake!");
    });
    for command in ["compat-check", "inspect"] {
        let result = output(bitnet(folder.path()).arg(command).arg(&file));
        let said = stdout(&result);
        assert!(
            !said.contains('\u{1b}') && !said.contains("\nproblem: fake!"),
            "{said}"
        );
        assert!(said.contains("\\u{1b}[2J\\nproblem: fake!"), "{said}");
    }
    refused(folder.path(), &file, &["\\u{1b}[2J\\nproblem: fake!"]);
}

/// What a program says and its exit code; one that does not end is ended.
#[cfg(unix)]
fn ends(command: &mut std::process::Command) -> (Option<i32>, String) {
    use std::time::{Duration, Instant};
    let streams = command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = streams.stderr(Stdio::piped()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (child.wait().unwrap().code(), said)
}

#[cfg(unix)]
#[test]
fn a_named_pipe_in_place_of_any_file_is_said_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let made = std::process::Command::new("mkfifo")
        .arg(at.join("pipe"))
        .status();
    assert!(made.unwrap().success());
    std::fs::write(at.join("list"), "[]").unwrap();
    for arguments in [
        "inspect pipe",
        "inspect --tokenizer pipe",
        "compat-check pipe",
        "run --prompt x --model pipe",
        "run --prompt x --tokenizer pipe",
        "run --prompt x --prompt-template pipe",
        "run --prompt-file pipe",
        "chat --tokenizer pipe",
        "chat --prompt-template pipe",
        "tokens pipe",
        "pipe pipe",
        "price --model gpt-4o pipe",
        "price --model gpt-4o --prices pipe list",
        "template --messages pipe",
        "template --messages list --tools pipe",
        "template --messages list --template-file pipe",
        "template --messages list --tokenizer pipe",
        "logits --tokens 1 --out out --model pipe",
        "models --prices pipe",
    ] {
        let (code, said) = ends(bitnet(at).args(arguments.split(' ')));
        assert!(matches!(code, Some(1 | 2)), "{arguments}: {code:?} {said}");
        let what = said.contains("not a file") || said.contains("a device or pipe");
        assert!(what, "{arguments}: {said}");
    }
}

#[test]
fn a_strictness_that_says_nothing_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (value, code) in [("1", 0), ("0", 0), ("", 0), ("yes", 1), (" 1", 1)] {
        let mut command = bitnet(folder.path());
        command.args(["models"]).env("BITNET_STRICT_MODE", value);
        let result = output(&mut command);
        assert_eq!(result.status.code(), Some(code), "{value:?}");
        assert_eq!(stderr(&result).contains("it can be 1 or 0"), code == 1);
    }
}
