//! `xtask tokenizer`: checked before it has its name, and errors in the specified words.

use std::fmt::Write as _;

use super::server::{Remote, Reply, Server};
use super::workbench::{Run, Workbench, names_in};

/// A byte-level BPE file with the shape of LLaMA-3's: 256 bytes, merges up to 128000 tokens, 256
/// special tokens.
fn tokenizer_json(specials: usize) -> Vec<u8> {
    let bytes: Vec<char> = (0..=255u8).map(byte_as_char).collect();
    let (mut vocab, mut merges, mut tokens) = (String::new(), String::new(), 0);
    let quoted = |token: &str| serde_json::to_string(token).expect("text");
    let mut token = |text: &str| {
        let _ = write!(
            vocab,
            "{}{}:{tokens}",
            if tokens > 0 { "," } else { "" },
            quoted(text)
        );
        tokens += 1;
        tokens
    };
    for byte in &bytes {
        token(&byte.to_string());
    }
    let pairs: Vec<(String, String)> = bytes
        .iter()
        .flat_map(|a| bytes.iter().map(move |b| (a.to_string(), b.to_string())))
        .collect();
    let triples = pairs
        .iter()
        .map(|(a, b)| (format!("{a}{b}"), bytes[0].to_string()));
    for (left, right) in pairs.iter().cloned().chain(triples) {
        let _ = write!(
            merges,
            "{}{}",
            if merges.is_empty() { "" } else { "," },
            quoted(&format!("{left} {right}"))
        );
        if token(&format!("{left}{right}")) == 128_000 {
            break;
        }
    }
    let added: Vec<_> = (0..specials)
        .map(|n| {
            let name = match n {
                0 => "<|begin_of_text|>".to_owned(),
                1 => "<|end_of_text|>".to_owned(),
                9 => "<|eot_id|>".to_owned(),
                n => format!("<|reserved_special_token_{n}|>"),
            };
            serde_json::json!({"id": 128_000 + n, "content": name, "special": true, "single_word": false,
                               "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    format!(
        r#"{{"version":"1.0","truncation":null,"padding":null,"added_tokens":{},"normalizer":null,
        "pre_tokenizer":{{"type":"Sequence","pretokenizers":[
            {{"type":"Split","pattern":{{"Regex":{}}},"behavior":"Isolated","invert":false}},
            {{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}}]}},
        "post_processor":null,"decoder":{{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}},
        "model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,
            "fuse_unk":false,"byte_fallback":false,"ignore_merges":true,"vocab":{{{vocab}}},"merges":[{merges}]}}}}"#,
        serde_json::to_string(&added).expect("json"),
        quoted(split),
    )
    .into_bytes()
}

/// The printable stand-in for a byte, as byte-level BPE has it since GPT-2.
fn byte_as_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match printable(byte) {
        true => char::from(byte),
        false => {
            let before = (0..byte).filter(|b| !printable(*b)).count();
            char::from_u32(256 + before as u32).expect("a character")
        }
    }
}

fn fetch(bench: &Workbench, server: &Server, more: &[&str]) -> Run {
    let url = server.url();
    let mut args = vec![
        "tokenizer",
        "--into",
        "models",
        "--base-url",
        &url,
        "--backoff",
        "0.01",
        "--no-progress",
    ];
    args.extend(more);
    bench.run(args)
}

#[test]
fn the_llama_3_tokenizer_arrives_alone_and_is_not_fetched_twice() {
    let (bench, remote) = (Workbench::new(), Remote::new(tokenizer_json(256)));
    let server = Server::of(remote.clone());
    fetch(&bench, &server, &[])
        .exits(0)
        .says("Downloaded models/tokenizer.json");
    assert!(std::fs::read(bench.path("models/tokenizer.json")).expect("there") == *remote.bytes);
    assert_eq!(
        names_in(&bench.path("models")),
        ["tokenizer.json".to_owned()].into()
    );
    assert_eq!(
        server.requests()[0].target,
        "/baseten/Meta-Llama-3-tokenizer/resolve/main/tokenizer.json"
    );

    fetch(&bench, &server, &[])
        .exits(0)
        .says("Already there")
        .says("128256");
    assert_eq!(server.requests().len(), 1);
    fetch(&bench, &server, &["--force", "--source", "official"]).exits(0);
    assert_eq!(
        server.requests()[1].target,
        "/meta-llama/Meta-Llama-3-8B/resolve/main/tokenizer.json"
    );
}

#[test]
fn what_is_not_the_tokenizer_never_gets_its_name() {
    let whole = tokenizer_json(256);
    for (name, bytes, said) in [
        ("a page", b"<html>log in</html>".to_vec(), "a web page"),
        ("cut json", whole[..whole.len() / 2].to_vec(), "line"),
        (
            "no model",
            br#"{"version":"1.0","added_tokens":[]}"#.to_vec(),
            "model",
        ),
        ("another vocabulary", tokenizer_json(3), "128256"),
        ("nothing", Vec::new(), "Tokenizer validation failed"),
    ] {
        let bench = Workbench::new();
        let run = fetch(&bench, &Server::of(Remote::new(bytes)), &[]);
        assert_eq!(run.code, Some(1), "{name}: {run:?}");
        let run = run.says("Error: Tokenizer validation failed: ").says(said);
        let run = run.says("\n\nSolution: Re-download tokenizer\n");
        run.says("cargo xtask tokenizer --into models --force");
        assert!(names_in(&bench.path("models")).is_empty(), "{name}");
    }
}

#[test]
fn a_bad_file_that_is_already_there_is_reported_with_the_way_out() {
    let bench = Workbench::new();
    bench.put("models/tokenizer.json", b"{}");
    let server = Server::of(Remote::new(tokenizer_json(256)));
    fetch(&bench, &server, &[])
        .exits(1)
        .says("Solution: Re-download tokenizer\nrm models/tokenizer.json\ncargo xtask tokenizer --into models");
    std::fs::remove_file(bench.path("models/tokenizer.json")).expect("removed");
    fetch(&bench, &server, &[]).exits(0);
}

#[test]
fn no_access_is_explained_step_by_step() {
    let steps = "\n\nSetup instructions:\n\
                 1. Accept LLaMA-3 license: https://huggingface.co/meta-llama/Meta-Llama-3-8B\n\
                 2. Generate token: https://huggingface.co/settings/tokens\n\
                 3. Export token: export HF_TOKEN=<your-token>\n\n";
    for status in [401, 403] {
        let bench = Workbench::new();
        let server = Server::start(move |_, _| Reply::new(status).body(b""));
        fetch(&bench, &server, &["--source", "official"])
            .exits(11)
            .says("Error: Authentication failed: HF_TOKEN required for official source")
            .says(steps)
            .says("Alternative: Use mirror source (no auth required)\ncargo xtask tokenizer --into models --source mirror")
            .says(&format!("HTTP {status}"));
        fetch(&bench, &server, &[])
            .exits(11)
            .says("the mirror refused access");
        assert!(names_in(&bench.path("models")).is_empty());
    }
    let bench = Workbench::new();
    bench
        .run(["tokenizer", "--source", "official"])
        .exits(11)
        .says("HF_TOKEN required for official source")
        .says(steps);
}

#[test]
fn the_token_is_for_the_official_source_only() {
    let (bench, server) = (
        Workbench::new(),
        Server::of(Remote::new(tokenizer_json(256))),
    );
    for source in ["mirror", "official"] {
        let url = server.url();
        let mut command = bench.command([
            "tokenizer",
            "--force",
            "--base-url",
            &url,
            "--source",
            source,
        ]);
        command.env("HF_TOKEN", "hf_secret");
        bench.finish(command).exits(0);
    }
    let seen: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.header("authorization").is_some())
        .collect();
    assert_eq!(seen, [false, true]);
}

#[test]
fn a_network_error_is_in_the_specified_words() {
    let bench = Workbench::new();
    let server = Server::start(|_, _| Reply::new(502).body(b""));
    fetch(&bench, &server, &["--source", "official"])
        .exits(14)
        .says(
            "Error: Network error downloading tokenizer (attempt 4/4)\n\n\
             Troubleshooting:\n\
             1. Check internet connectivity\n\
             2. Verify proxy settings (HTTP_PROXY, HTTPS_PROXY)\n\
             3. Try mirror source: --source mirror",
        )
        .says("HTTP 502");
}

#[test]
fn a_tokenizer_carried_in_a_folder_is_taken() {
    let bench = Workbench::new();
    bench.put("carried/tokenizer.json", &tokenizer_json(256));
    bench
        .run([
            "tokenizer",
            "--into",
            "models",
            "--base-url",
            "carried",
            "--source",
            "official",
        ])
        .exits(0);
    assert!(bench.path("models/tokenizer.json").exists());
}
