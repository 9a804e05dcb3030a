//! Lanes that crash, hang, lie or babble: each an error of that lane, in words.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bitnet_crossval::lane::{Client, Lane, LaneFailure, Limits};
use bitnet_lane_protocol::message::{
    Attention, Hello, KvType, LaneError, LoadRequest, Reply, Response,
};
use bitnet_lane_protocol::{PROTOCOL_VERSION, frame};

/// A lane that is a shell script.
struct Script {
    folder: tempfile::TempDir,
}

impl Script {
    /// `body` runs after the greeting was answered with `hello`.
    fn new(hello: &Hello, body: &str) -> Self {
        let response = Response {
            result: Ok(Reply::Hello(hello.clone())),
            floats: 0,
        };
        let mut line = Vec::new();
        frame::write_line(&mut line, &response).unwrap();
        let line = String::from_utf8(line).unwrap();
        Self::raw(&format!("read request\ncat <<'END'\n{line}END\n{body}"))
    }

    fn raw(text: &str) -> Self {
        let script = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let source = script.folder.path().join("source");
        fs::write(&source, format!("#!/bin/sh\n{text}\n")).unwrap();
        // Another process writes what is to be run: a file that this one writes may be held open
        // for a moment by a child that another test is starting, and then the system
        // refuses to run it.
        let install = Command::new("install")
            .args(["-m", "755"])
            .args([&source, &script.program()])
            .status();
        assert!(install.unwrap().success());
        script
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("lane")
    }

    fn start(&self, limit: Duration) -> Result<Client, LaneFailure> {
        Client::start(
            Lane::LlamaCpp,
            &self.program(),
            Limits {
                hello: limit,
                call: limit,
            },
        )
    }
}

/// Far longer than any answer takes.
const PATIENT: Duration = Duration::from_secs(600);
const IMPATIENT: Duration = Duration::from_millis(100);

fn hello() -> Hello {
    Hello {
        protocol: PROTOCOL_VERSION,
        lane: Lane::LlamaCpp.name().to_owned(),
        reference: "a script".to_owned(),
        fingerprint: String::new(),
        system: String::new(),
        flash_attention: false,
    }
}

fn load(client: &mut Client) -> LaneFailure {
    let request = LoadRequest {
        path: "model.gguf".into(),
        threads: 1,
        context: 512,
        kv: KvType::F16,
        attention: Attention::Plain,
    };
    client.load(request).unwrap_err()
}

#[test]
fn a_crash_is_told_with_its_signal_and_last_words() {
    let script = Script::new(
        &hello(),
        "read request; echo 'GGML_ASSERT: no luck' >&2; kill -ABRT $$",
    );
    let failure = load(&mut script.start(PATIENT).unwrap());
    assert!(matches!(failure, LaneFailure::Crash { .. }), "{failure}");
    let text = failure.to_string();
    for part in [
        "llama-cpp lane",
        "signal 6",
        "`load`",
        "GGML_ASSERT: no luck",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn an_instruction_that_the_processor_lacks_is_named_as_that() {
    let script = Script::new(&hello(), "read request; kill -ILL $$");
    let text = load(&mut script.start(PATIENT).unwrap()).to_string();
    assert!(text.contains("built for another CPU"), "{text}");
}

#[test]
fn a_hang_is_ended_after_its_limit() {
    let script = Script::raw("echo loading >&2; exec sleep 600");
    let failure = script.start(IMPATIENT).unwrap_err();
    assert!(
        matches!(failure, LaneFailure::Hang { call: "hello", .. }),
        "{failure}"
    );
}

#[test]
fn another_protocol_or_another_lane_is_a_wrong_version() {
    let old = Hello {
        protocol: PROTOCOL_VERSION + 1,
        ..hello()
    };
    let other = Hello {
        lane: Lane::BitnetCpp.name().to_owned(),
        ..hello()
    };
    for (hello, words) in [
        (old, "speaks protocol"),
        (other, "calls itself `bitnet-cpp`"),
    ] {
        let failure = Script::new(&hello, "").start(PATIENT).unwrap_err();
        assert!(matches!(failure, LaneFailure::Version { .. }), "{failure}");
        let text = failure.to_string();
        assert!(
            text.contains(words) && text.contains("setup-cpp-auto"),
            "{text}"
        );
    }
}

#[test]
fn babble_and_a_wrong_reply_are_unreadable_answers() {
    let failure = Script::raw("echo 'llama_model_loader: hello'; read request")
        .start(PATIENT)
        .unwrap_err();
    assert!(matches!(failure, LaneFailure::Garbled { .. }), "{failure}");
    assert!(
        failure.to_string().contains("llama_model_loader: hello"),
        "{failure}"
    );
    let script = Script::new(
        &hello(),
        r#"read request; echo '{"result":{"Ok":{"reply":"unloaded"}},"floats":0}'"#,
    );
    let failure = load(&mut script.start(PATIENT).unwrap());
    assert!(
        matches!(failure, LaneFailure::Garbled { call: "load", .. }),
        "{failure}"
    );
}

#[test]
fn floats_that_stop_early_are_a_crash_and_not_a_short_answer() {
    let script = Script::new(
        &hello(),
        r#"read request; echo '{"result":{"Ok":{"reply":"unloaded"}},"floats":1000}'"#,
    );
    let failure = load(&mut script.start(PATIENT).unwrap());
    assert!(matches!(failure, LaneFailure::Crash { .. }), "{failure}");
}

#[test]
fn a_refusal_keeps_the_words_of_the_reference() {
    let response = Response {
        result: Err(LaneError::cannot_read("unknown type 36")),
        floats: 0,
    };
    let mut line = Vec::new();
    frame::write_line(&mut line, &response).unwrap();
    let line = String::from_utf8(line).unwrap();
    let script = Script::new(&hello(), &format!("read request\ncat <<'END'\n{line}END"));
    let failure = load(&mut script.start(PATIENT).unwrap());
    assert!(matches!(failure, LaneFailure::Refused { .. }), "{failure}");
    assert_eq!(failure.to_string(), "llama-cpp lane: unknown type 36");
}

#[test]
fn a_program_that_is_not_there_is_named_with_the_command_that_builds_it() {
    let gone = std::path::Path::new("/nonexistent/lane");
    let failure = Client::start(Lane::BitnetCpp, gone, Limits::default()).unwrap_err();
    assert!(matches!(failure, LaneFailure::Start { .. }), "{failure}");
    assert!(
        failure.to_string().contains("cargo xtask setup-cpp-auto"),
        "{failure}"
    );
}
