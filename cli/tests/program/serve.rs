//! A server, from its start to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::{bitnet, output, stderr};

fn serve(folder: &std::path::Path) -> Command {
    let mut command = bitnet(folder);
    command.args(["serve", "--device", "cpu", "--port", "0", "--threads", "1"]);
    command
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
    let mut command = serve(folder.path());
    let mut child = command
        .args(["--alias", "small"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("small listens at http://") {
        assert!(log.read_line(&mut said).unwrap() > 0, "{said}");
    }
    let address = said.trim().rsplit_once("http://").unwrap().1.to_owned();
    assert!(ask(&address, "GET /health", "").starts_with("HTTP/1.1 200"));
    let body =
        r#"{"model": "small", "prompt": "ROMEO:\nWhat light", "temperature": 0, "max_tokens": 8}"#;
    let answer = ask(&address, "POST /v1/completions", body);
    assert!(answer.contains("s are this, that is not so"), "{answer}");
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    log.read_to_string(&mut said).unwrap();
    assert!(
        said.contains("\"path\":\"/v1/completions\",\"status\":200"),
        "{said}"
    );
    assert!(!said.contains("ROMEO"), "{said}");
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
