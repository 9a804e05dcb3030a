//! A server, from its start to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::{bitnet, output, stderr};

fn serve(folder: &std::path::Path) -> Command {
    let mut command = bitnet(folder);
    command.args(["serve", "--device", "cpu", "--port", "0", "--threads", "1"]);
    command
}

/// A server that listens, its model by the name `small`.
#[cfg(unix)]
struct Served {
    child: Child,
    address: String,
    log: BufReader<ChildStderr>,
    said: String,
}

#[cfg(unix)]
impl Served {
    fn begin(command: &mut Command) -> Served {
        let command = command.args(["--alias", "small"]).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("small listens at http://") {
            assert!(log.read_line(&mut said).unwrap() > 0, "{said}");
        }
        Served {
            child,
            address: said.trim().rsplit_once("http://").unwrap().1.to_owned(),
            log,
            said,
        }
    }

    /// Asks it to end, and gives all that it said.
    fn end(&mut self) -> String {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(sent.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.log.read_to_string(&mut self.said).unwrap();
        std::mem::take(&mut self.said)
    }
}

/// Answers of one connection, closed behind them.
fn ask(address: &str, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[cfg(unix)]
#[test]
fn a_server_answers_until_it_is_asked_to_end_and_says_nothing_of_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::begin(&mut serve(folder.path()));
    let address = &served.address;
    assert!(ask(address, "GET /health", "").starts_with("HTTP/1.1 200"));
    let body =
        r#"{"model": "small", "prompt": "ROMEO:\nWhat light", "temperature": 0, "max_tokens": 8}"#;
    let answer = ask(address, "POST /v1/completions", body);
    assert!(answer.contains("s are this, that is not so"), "{answer}");
    let said = served.end();
    assert!(
        said.contains("\"path\":\"/v1/completions\",\"status\":200"),
        "{said}"
    );
    assert!(!said.contains("ROMEO"), "{said}");
}

/// Runs a server with a folder for caches, under an instruction set, has it answer, and ends it:
/// the answer, and what it said.
#[cfg(unix)]
fn answer_with_caches(
    folder: &std::path::Path,
    isa: &str,
    body: &str,
) -> (serde_json::Value, String) {
    let mut command = serve(folder);
    command
        .env("BITNET_ISA", isa)
        .args(["--cache-dir", "caches"]);
    let mut served = Served::begin(&mut command);
    let answer = ask(&served.address, "POST /v1/completions", body);
    let answer = answer.split_once("\r\n\r\n").unwrap().1;
    (serde_json::from_str(answer).unwrap(), served.end())
}

#[cfg(unix)]
#[test]
fn a_cache_in_a_file_is_valid_for_every_instruction_set_and_a_damaged_one_is_named() {
    let prompt =
        "ROMEO:\nWhat light through yonder window breaks? It is the east, and Juliet is the sun.";
    let body = serde_json::json!({ "prompt": prompt, "seed": 7, "max_tokens": 12, "logprobs": 2 });
    let body = &body.to_string();
    let parts = |answer: &serde_json::Value| {
        let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64();
        (
            cached.unwrap(),
            answer["choices"].clone(),
            answer["system_fingerprint"].clone(),
        )
    };
    // Written by each of the two ends of the list, and read by all.
    let all: Vec<&str> = bitnet_engine::Isa::available()
        .iter()
        .map(|isa| isa.name())
        .collect();
    let mut wanted = None;
    for writer in [all[0], all[all.len() - 1]] {
        let folder = tempfile::tempdir().unwrap();
        let (first, _) = answer_with_caches(folder.path(), writer, body);
        let (cached, choices, fingerprint) = parts(&first);
        assert_eq!(cached, 0);
        let wanted = wanted.get_or_insert((choices, fingerprint));
        assert_eq!(
            *wanted,
            (
                first["choices"].clone(),
                first["system_fingerprint"].clone()
            )
        );
        for reader in &all {
            let (answer, said) = answer_with_caches(folder.path(), reader, body);
            let (cached, choices, fingerprint) = parts(&answer);
            assert!(cached > 0, "{writer}, {reader}: {said}");
            assert_eq!((choices, fingerprint), *wanted, "{writer}, {reader}");
            assert!(!said.contains("caches"), "{said}");
        }
        // A bit of a value is another.
        let files = std::fs::read_dir(folder.path().join("caches")).unwrap();
        let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        let [file] = &files[..] else {
            panic!("one answer, one file: {files:?}");
        };
        let mut bytes = std::fs::read(file).unwrap();
        let at = bytes.len() - 1000;
        bytes[at] ^= 4;
        std::fs::write(file, bytes).unwrap();
        let (answer, said) = answer_with_caches(folder.path(), writer, body);
        let (cached, choices, fingerprint) = parts(&answer);
        assert_eq!(cached, 0);
        assert_eq!((choices, fingerprint), *wanted);
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(said.contains(name) && said.contains("is damaged"), "{said}");
    }
}

#[test]
fn what_keeps_a_server_from_starting_is_said_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let empty = folder.path().join("keys.txt");
    std::fs::write(&empty, "# none yet\n").unwrap();
    for (args, what) in [
        (&["--host", "0.0.0.0"][..], "--api-key-file"),
        (&["--port", &port], "--port"),
        (&["--api-key-file", empty.to_str().unwrap()], "no key in it"),
        (&["--api-key-file", "none.txt"], "none.txt"),
        (&["--cache-dir", empty.to_str().unwrap()], "--cache-dir"),
        (
            &["--cache-dir", "caches", "--cache-ram", "0"],
            "--cache-ram",
        ),
    ] {
        let mut command = bitnet(folder.path());
        let mut args = args.to_vec();
        if !args.contains(&"--port") {
            args.extend(["--port", "0"]);
        }
        let result = output(command.args(["serve", "--device", "cpu"]).args(args));
        assert_eq!(result.status.code(), Some(1), "{}", stderr(&result));
        assert!(stderr(&result).contains(what), "{}", stderr(&result));
    }
}
