//! Lanes that crash, hang, lie or babble: each an error of that lane, in words.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use bitnet_crossval::lane::{Client, Lane, LaneFailure, Limits};
use bitnet_lane_protocol::message::{
    Attention, EvaluateRequest, Evaluation, Feed, Hello, KvType, LaneError, LoadRequest, ModelInfo,
    Reply, Response,
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
        self.start_within(limit, limit)
    }

    fn start_within(&self, hello: Duration, call: Duration) -> Result<Client, LaneFailure> {
        Client::start(Lane::LlamaCpp, &self.program(), Limits { hello, call })
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

fn load_request() -> LoadRequest {
    LoadRequest {
        path: "model.gguf".into(),
        threads: 1,
        context: 512,
        kv: KvType::F16,
        attention: Attention::Plain,
    }
}

fn load(client: &mut Client) -> LaneFailure {
    client.load(load_request()).unwrap_err()
}

/// A step of a script: answers one request with `reply` and zeros for floats.
fn answering(reply: Reply, floats: usize) -> String {
    let response = Response {
        result: Ok(reply),
        floats: 0,
    };
    let mut line = Vec::new();
    frame::write_response(&mut line, response, &[]).unwrap();
    let line = String::from_utf8(line).unwrap();
    let line = line.replace("\"floats\":0}", &format!("\"floats\":{floats}}}"));
    format!(
        "read request\ncat <<'END'\n{line}END\nhead -c {} /dev/zero\n",
        4 * floats
    )
}

/// A model of 3 layers, 4 wide, with 5 tokens.
fn small() -> ModelInfo {
    ModelInfo {
        description: String::new(),
        vocabulary: 5,
        layers: 3,
        hidden: 4,
        context: 512,
        tokenizer: false,
        load_ms: 0.0,
    }
}

/// Two tokens read, one chosen.
fn evaluate(client: &mut Client) -> Result<(Evaluation, Vec<f32>), LaneFailure> {
    client.evaluate(EvaluateRequest {
        tokens: vec![1, 2],
        feed: Feed::Batch,
        greedy: 1,
        layers: true,
    })
}

fn evaluation() -> Evaluation {
    Evaluation {
        rows: 3,
        vocabulary: 5,
        layers: 3,
        hidden: 4,
        greedy: vec![0],
        prefill_ms: 0.0,
        decode_ms: 0.0,
    }
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

#[test]
fn a_lane_that_closes_its_output_and_lives_on_is_ended() {
    let script = Script::new(&hello(), "exec >&-; exec sleep 600");
    let start = Instant::now();
    let failure = load(&mut script.start(PATIENT).unwrap());
    assert!(matches!(failure, LaneFailure::Crash { .. }), "{failure}");
    assert!(
        failure.to_string().contains("closed its output"),
        "{failure}"
    );
    assert!(start.elapsed() < PATIENT / 2);
}

/// More than any pipe holds.
#[test]
fn a_lane_that_does_not_read_is_ended_after_its_limit() {
    let script = Script::new(&hello(), "exec sleep 600");
    let mut client = script.start_within(PATIENT, IMPATIENT).unwrap();
    let request = EvaluateRequest {
        tokens: vec![1; 1 << 20],
        feed: Feed::Batch,
        greedy: 0,
        layers: false,
    };
    let failure = client.evaluate(request).unwrap_err();
    assert!(
        matches!(
            failure,
            LaneFailure::Hang {
                call: "evaluate",
                ..
            }
        ),
        "{failure}"
    );
}

#[test]
fn only_an_answer_of_the_shape_that_was_asked_for_is_one() {
    type Change = fn(&mut Evaluation);
    const FLOATS: usize = 3 * (5 + 3 * 4);
    let of = |change: Change, floats: usize| {
        let mut answer = evaluation();
        change(&mut answer);
        let body =
            answering(Reply::Loaded(small()), 0) + &answering(Reply::Evaluated(answer), floats);
        let mut client = Script::new(&hello(), &body).start(PATIENT).unwrap();
        client.load(load_request()).unwrap();
        evaluate(&mut client)
    };
    assert_eq!(of(|_| {}, FLOATS).unwrap().1.len(), FLOATS);
    let wrong: [(Change, usize, &str); 7] = [
        (|_| {}, FLOATS - 1, "50 floats came, 51 were announced"),
        // 2^63 rows of two values are none at all where products wrap.
        (
            |a| (a.rows, a.vocabulary, a.layers) = (1 << 63, 2, 0),
            0,
            "rows",
        ),
        (|a| a.vocabulary = 0, FLOATS, "logits a row"),
        (|a| a.hidden = 0, FLOATS, "values a layer"),
        (|a| a.layers = 0, FLOATS, "layers"),
        (|a| a.greedy.clear(), FLOATS, "greedy tokens"),
        (|a| a.greedy = vec![-1], FLOATS, "greedy token -1"),
    ];
    for (change, floats, words) in wrong {
        let failure = of(change, floats).unwrap_err();
        assert!(matches!(failure, LaneFailure::Garbled { .. }), "{failure}");
        assert!(failure.to_string().contains(words), "{words}: {failure}");
    }
}

/// A model of that size has answers that no memory holds.
#[test]
fn a_model_whose_sizes_wrap_gives_no_answer() {
    let huge = ModelInfo {
        layers: 1 << 62,
        hidden: 4,
        vocabulary: 0,
        ..small()
    };
    let answer = Evaluation {
        layers: 1 << 62,
        vocabulary: 0,
        ..evaluation()
    };
    let body = answering(Reply::Loaded(huge), 0) + &answering(Reply::Evaluated(answer), 0);
    let mut client = Script::new(&hello(), &body).start(PATIENT).unwrap();
    client.load(load_request()).unwrap();
    let failure = evaluate(&mut client).unwrap_err();
    assert!(
        failure.to_string().contains("more than there can be"),
        "{failure}"
    );
}

#[test]
fn a_flood_on_standard_error_stops_nothing_and_fills_nothing() {
    for flood in ["cat /dev/zero", "yes"] {
        // Its standard output stays open as another descriptor.
        let script = Script::new(&hello(), &format!("exec {flood} 3>&1 >&2"));
        let mut client = script.start_within(PATIENT, IMPATIENT).unwrap();
        let failure = load(&mut client);
        assert!(matches!(failure, LaneFailure::Hang { .. }), "{failure}");
        assert!(failure.to_string().len() < 100_000);
    }
}

/// Each of these is an answer that nobody asked for.
#[test]
fn a_flood_of_answers_is_read_no_further_than_one_ahead() {
    let line = r#"{"result":{"Ok":{"reply":"unloaded"}},"floats":0}"#;
    let script = Script::new(&hello(), &format!("read request; exec yes '{line}'"));
    let failure = load(&mut script.start(PATIENT).unwrap());
    assert!(
        matches!(failure, LaneFailure::Garbled { call: "load", .. }),
        "{failure}"
    );
}
