//! How the program ends, and what it leaves: signals, and files that are written.

use std::fs;

use crate::{bitnet, golden, output, stderr, stdout};

#[cfg(unix)]
mod signals {
    use std::io::Read;
    use std::process::{Child, Command, Stdio};
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    use crate::bitnet;

    fn start(command: &mut Command) -> Child {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        piped.stderr(Stdio::piped()).spawn().unwrap()
    }

    fn kill(signal: &str, child: &Child) {
        let id = child.id().to_string();
        let kill = Command::new("kill").args([signal, &id]).status();
        assert!(kill.unwrap().success());
    }

    /// The code with which one signal ends it; none where it came before the program's handlers.
    fn ended_by(signal: &str, child: &mut Child) -> Option<i32> {
        let start = Instant::now();
        sleep(Duration::from_millis(500));
        kill(signal, child);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            let waited = start.elapsed();
            assert!(waited < Duration::from_secs(20), "{signal} is swallowed");
            sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn one_signal_ends_what_cannot_be_cut_short() {
        let folder = tempfile::tempdir().unwrap();
        let waiting: [&[&str]; 4] = [
            &["run"],
            &["tokens"],
            &["chat", "--prompt-template", "instruct"],
            &[
                "bench",
                "--repetitions",
                "1000",
                "--prompt-tokens",
                "64",
                "--gen-tokens",
                "64",
            ],
        ];
        for arguments in waiting {
            for (signal, code) in [("-TERM", 143), ("-INT", 130), ("-HUP", 129)] {
                let mut child = start(bitnet(folder.path()).args(arguments));
                // Its input stays open.
                let ended = ended_by(signal, &mut child);
                assert!(
                    ended.is_none_or(|ended| ended == code),
                    "{arguments:?} {signal}: {ended:?}"
                );
            }
        }
    }

    #[test]
    fn a_file_that_is_shortened_while_it_is_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("m.gguf");
        std::fs::copy(crate::root().join("demo/demo.gguf"), &model).unwrap();
        let endless = [
            "--prompt-tokens",
            "200",
            "--gen-tokens",
            "1",
            "--repetitions",
            "1000",
        ];
        let mut command = bitnet(folder.path());
        command.args(["bench", "--model", "m.gguf"]).args(endless);
        let child = start(command.env("BITNET_ISA", "scalar"));
        sleep(Duration::from_secs(1));
        let file = std::fs::File::options().write(true).open(&model).unwrap();
        file.set_len(40_000).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        // In the middle of a pass, and between two.
        let told = ["shortened", "lost"].iter().any(|word| said.contains(word));
        assert!(told, "{said}");
    }

    // The only system that tells what is ignored.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_signal_that_was_ignored_from_the_start_stays_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let program = env!("CARGO_BIN_EXE_bitnet");
        let script = format!("trap '' HUP; exec {program} run --prompt Hi --max-tokens 200");
        command.args(["-c", &script]).current_dir(folder.path());
        let mut child = start(command.env("BITNET_ISA", "scalar"));
        let mut first = [0; 1];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut first)
            .unwrap();
        kill("-HUP", &child);
        assert!(child.wait_with_output().unwrap().status.success());
    }
}

#[test]
fn an_output_never_takes_the_place_of_an_input() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("m.gguf");
    fs::copy(golden("b158-i2_s.gguf"), &model).unwrap();
    let before = fs::read(&model).unwrap();
    let logits = |out: &str| {
        output(
            bitnet(folder.path())
                .args(["logits", "--model", "m.gguf", "--tokens", "1", "--out", out]),
        )
    };
    let mut places = vec!["m.gguf", "./m.gguf"];
    if cfg!(unix) {
        #[cfg(unix)]
        std::os::unix::fs::symlink(&model, folder.path().join("link")).unwrap();
        places.push("link");
    }
    for place in places {
        let ran = logits(place);
        assert_eq!(ran.status.code(), Some(1), "{place}");
        let said = stderr(&ran);
        assert!(said.contains("write to another file"), "{said}");
        assert_eq!(fs::read(&model).unwrap(), before);
    }
    assert!(logits("l.f32").status.success());
    assert_eq!(
        fs::read(folder.path().join("l.f32")).unwrap().len(),
        512 * 4
    );
    let names = fs::read_dir(folder.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = names.filter(|name| name.ends_with(".part")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_as_a_model_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    for command in [
        &["inspect"][..],
        &["compat-check"],
        &["run", "--prompt", "x", "--model"],
    ] {
        let ran = output(bitnet(folder.path()).args(command).arg(&pipe));
        assert_eq!(ran.status.code(), Some(1), "{command:?}");
        assert!(stderr(&ran).contains("pipe"), "{}", stderr(&ran));
    }
}

#[cfg(unix)]
#[test]
fn nobody_listening_to_errors_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_bitnet");
    let script = format!(
        "(sleep 0.3; {program} run --prompt Hi --max-tokens 2; echo $? >code) 2>&1 >/dev/null | true"
    );
    let mut shell = std::process::Command::new("sh");
    let ran = shell
        .args(["-c", &script])
        .current_dir(folder.path())
        .status();
    assert!(ran.unwrap().success());
    let code = fs::read_to_string(folder.path().join("code")).unwrap();
    assert_eq!(code.trim(), "0");
}

#[test]
fn what_begins_with_a_dash_is_a_value() {
    let folder = tempfile::tempdir().unwrap();
    let ran = output(bitnet(folder.path()).args([
        "run",
        "--prompt",
        "- item",
        "--stop",
        "---",
        "--system-prompt",
        "-s",
        "--max-tokens",
        "1",
        "--json",
    ]));
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(stdout(&ran).contains(r#""prompt": "-s\n\n- item""#));
}

#[test]
fn numbers_that_are_too_large_are_refused_or_mean_all() {
    let folder = tempfile::tempdir().unwrap();
    let most = usize::MAX.to_string();
    let ran = output(bitnet(folder.path()).args(["bench", "--depth", &most]));
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("lower --depth"), "{}", stderr(&ran));
    let text = |top_k: &str| {
        let arguments = [
            "run",
            "--prompt",
            "ROMEO:",
            "--max-tokens",
            "8",
            "--top-k",
            top_k,
        ];
        let drawn = ["--temperature", "1", "--seed", "7"];
        let ran = output(bitnet(folder.path()).args(arguments).args(drawn));
        assert!(ran.status.success(), "{}", stderr(&ran));
        stdout(&ran)
    };
    assert_eq!(text("0"), text("18446744073709551552"));
    assert_eq!(text("0"), text("60000"));
}
