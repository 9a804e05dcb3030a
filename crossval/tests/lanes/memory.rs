//! Load, evaluate, refuse, unload, over and over under AddressSanitizer's allocator: no leak, no
//! double or foreign free.
//!
//! Preloaded, it watches every allocation of the lane and its C++ without another build of either.
//! (Valgrind knows no AVX-512, which the references use where they find it.)

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bitnet_crossval::lane::{Home, Lane};
use bitnet_lane_protocol::frame;
use bitnet_lane_protocol::message::{
    Attention, EvaluateRequest, Feed, KvType, LoadRequest, Request,
};

use super::golden::golden;

const ROUNDS: usize = 3;

/// How the sanitizer ends a program that leaked.
const LEAKED: i32 = 23;

/// gcc's AddressSanitizer, which is installed with g++.
fn sanitizer() -> PathBuf {
    let asked = Command::new("gcc")
        .arg("-print-file-name=libasan.so")
        .output();
    let output = asked.expect("gcc, which the references are built with: apt-get install g++");
    let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    assert!(
        path.is_absolute(),
        "gcc has no libasan.so: apt-get install libgcc-12-dev (or that of your gcc)"
    );
    path
}

fn watched(program: &Path, input: Stdio) -> Output {
    Command::new(program)
        .env("LD_PRELOAD", sanitizer())
        .env("ASAN_OPTIONS", format!("detect_leaks=1:exitcode={LEAKED}"))
        .stdin(input)
        .output()
        .expect("the program starts")
}

/// A conversation of [`ROUNDS`] rounds with everything that allocates.
fn conversation(lane: Lane) -> Vec<u8> {
    let model = if lane == Lane::LlamaCpp {
        "llama-tq2_0.gguf"
    } else {
        "llama-i2_s.gguf"
    };
    // The references' threads spin, which is slow on a busy machine: two of them for one batch
    // only.
    let load = |path: PathBuf, threads| {
        Request::Load(LoadRequest {
            path,
            threads,
            context: 512,
            kv: KvType::F16,
            attention: Attention::Plain,
        })
    };
    let evaluate = |feed, layers| {
        Request::Evaluate(EvaluateRequest {
            tokens: vec![1, 5, 17, 200, 33],
            feed,
            greedy: 2,
            layers,
        })
    };
    let mut wire = Vec::new();
    for _ in 0..ROUNDS {
        for request in [
            Request::Hello,
            load(golden(model), 2),
            evaluate(Feed::Batch, false),
            // In place of an open model.
            load(golden(model), 1),
            evaluate(Feed::Single, true),
            load("/nonexistent.gguf".into(), 1),
            load(golden(model), 1),
            evaluate(Feed::Batch, true),
            Request::Unload,
        ] {
            frame::write_line(&mut wire, &request).unwrap();
        }
    }
    // Left open at the end of the input.
    frame::write_line(&mut wire, &load(golden(model), 1)).unwrap();
    wire
}

#[test]
fn no_lane_leaks_over_many_models() {
    let home = Home::named_by(std::env::var_os).expect("a cache");
    let folder = tempfile::tempdir().unwrap();
    for lane in Lane::CPP {
        let installed = home.find(lane).unwrap_or_else(|| {
            panic!(
                "{} is not built: run `cargo xtask setup-cpp-auto`",
                lane.reference()
            )
        });
        let requests = folder.path().join(lane.name());
        std::fs::write(&requests, conversation(lane)).unwrap();
        let output = watched(
            &installed.program,
            std::fs::File::open(&requests).unwrap().into(),
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && !said.contains("Sanitizer"),
            "{}: {said}",
            output.status
        );
        let mut answers = output.stdout.as_slice();
        let mut evaluated = 0;
        while let Some((response, floats)) = frame::read_response(&mut answers).unwrap() {
            evaluated += usize::from(response.result.is_ok() && !floats.is_empty());
        }
        assert_eq!(evaluated, 3 * ROUNDS, "every model was really run");
    }
}

/// The sanitizer sees a leak where there is one, so that its silence above means something.
#[test]
fn the_sanitizer_sees_a_leak() {
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("leak.c"), folder.path().join("leak"));
    let text = "#include <stdlib.h>\nint main(void) { char *volatile p = malloc(100); p[0] = 1; p = 0; return 0; }\n";
    std::fs::write(&source, text).unwrap();
    let compiled = Command::new("gcc")
        .arg("-O0")
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .status();
    assert!(compiled.unwrap().success());
    let output = watched(&program, Stdio::null());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(LEAKED), "{said}");
    assert!(said.contains("100 byte(s) leaked"), "{said}");
}
