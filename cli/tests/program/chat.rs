//! Conversations, through pipes and at a terminal.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::{bitnet, output, stderr, stdout};

/// `bitnet chat` on the demo model, with a state folder of its own.
fn chat(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = bitnet(folder);
    command
        .args(["chat", "--device", "cpu", "--prompt-template", "instruct"])
        .args(arguments)
        .env("XDG_STATE_HOME", folder.join("state"));
    command
}

/// What comes of `typed` through a pipe.
fn piped(command: &mut Command, typed: &str) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended before it read all.
    let _ = stdin.write_all(typed.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn saved(folder: &Path, name: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(folder.join(name)).unwrap();
    let messages: Vec<Value> = serde_json::from_str(&text).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let messages = messages.iter();
    messages
        .map(|message| (text(&message["role"]), text(&message["content"])))
        .collect()
}

#[test]
fn through_a_pipe_nothing_but_answers_is_on_standard_output() {
    let folder = tempfile::tempdir().unwrap();
    let typed = "Who is there?\n\n/help\n/stats\n/system Be brief.\n/template\n/save a.json\n";
    let ran = piped(&mut chat(folder.path(), &["--max-tokens", "8"]), typed);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let said = saved(folder.path(), "a.json");
    let roles: Vec<&str> = said.iter().map(|(role, _)| role.as_str()).collect();
    assert_eq!(roles, ["system", "user", "assistant"]);
    assert_eq!(said[1].1, "Who is there?");
    assert_eq!(stdout(&ran), format!("{}\n", said[2].1));
    for wanted in [
        "/regenerate",
        "of 256 tokens",
        "template: instruct",
        "tokens/s",
    ] {
        assert!(stderr(&ran).contains(wanted), "{wanted}: {}", stderr(&ran));
    }
}

#[test]
fn a_conversation_is_saved_loaded_and_read_by_template() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let typed = "One\nTwo\n/undo\n/save a.json\n/reset\n//path\\\nis a text\n/regenerate\n\
                 /save b.json\n/load a.json\nThree\n/save a.json\n";
    let ran = piped(&mut chat(at, &["--max-tokens", "4"]), typed);
    assert!(ran.status.success(), "{}", stderr(&ran));
    let questions = |name: &str| -> Vec<String> {
        let said = saved(at, name).into_iter();
        let asked = said.filter(|(role, _)| role == "user");
        asked.map(|(_, text)| text).collect()
    };
    assert_eq!(questions("a.json"), ["One", "Three"]);
    assert_eq!(questions("b.json"), ["/path\nis a text"]);
    assert_eq!(saved(at, "b.json").len(), 2);
    let shown = output(
        bitnet(at)
            .args(["template", "--template-file", "chatml"])
            .args(["--messages", "a.json"]),
    );
    assert!(shown.status.success(), "{}", stderr(&shown));
    assert!(stdout(&shown).contains("<|im_start|>user\nThree<|im_end|>"));
}

#[test]
fn what_is_no_command_or_no_conversation_ends_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("notes.txt"), "mine").unwrap();
    fs::write(at.join("list.json"), "[1]").unwrap();
    for (typed, wanted) in [
        ("/frobnicate\n", "unknown command `/frobnicate`"),
        ("/save\n", "/save FILE"),
        ("/save notes.txt\n", "something else than a conversation"),
        ("/load absent.json\n", "absent.json"),
        ("/load notes.txt\n", "notes.txt"),
        ("/load list.json\n", "message 1 has no role"),
        ("/undo\n", "nothing to take back"),
        ("/regenerate\n", "no question"),
        ("/template llama9\n", "llama9"),
    ] {
        let ran = piped(&mut chat(at, &[]), &format!("{typed}Never asked\n"));
        assert_eq!(ran.status.code(), Some(1), "{typed}");
        assert!(stderr(&ran).contains(wanted), "{typed}: {}", stderr(&ran));
        assert_eq!(stdout(&ran), "", "{typed}");
    }
    assert_eq!(fs::read_to_string(at.join("notes.txt")).unwrap(), "mine");
}

#[test]
fn a_full_context_is_said_and_the_conversation_goes_on_unless_it_shall_stop() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--context", "64", "--max-tokens", "16"];
    let typed = "Who is there?\nAnd who else?\nWhere are they?\nAnd why?\n";
    let ran = piped(&mut chat(folder.path(), &small), typed);
    assert!(ran.status.success(), "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("oldest turns are no longer sent"),
        "{}",
        stderr(&ran)
    );
    let stop = [&small[..], &["--on-full", "stop"]].concat();
    let ran = piped(&mut chat(folder.path(), &stop), typed);
    assert_eq!(ran.status.code(), Some(1));
    assert!(stderr(&ran).contains("64"), "{}", stderr(&ran));
}

#[test]
fn a_thought_is_marked_in_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let template = "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ '<think>\\n' }}";
    fs::write(folder.path().join("thinks.jinja"), template).unwrap();
    let arguments = ["--prompt-template", "thinks.jinja", "--max-tokens", "6"];
    let mut command = bitnet(folder.path());
    let ran = piped(command.arg("chat").args(arguments), "Why?\n/save a.json\n");
    assert!(ran.status.success(), "{}", stderr(&ran));
    let text = fs::read_to_string(folder.path().join("a.json")).unwrap();
    let messages: Vec<Value> = serde_json::from_str(&text).unwrap();
    let thought = messages[1]["reasoning_content"].as_str().unwrap();
    assert_eq!(stdout(&ran), format!("<think>\n{thought}\n</think>\n"));
    assert_eq!(messages[1]["content"], "");
}

#[cfg(unix)]
mod terminal {
    use std::process::Command;

    use rexpect::process::{Signal, WaitStatus};
    use rexpect::session::{PtySession, spawn_command};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;

    /// Longest wait for what is to appear, in milliseconds.
    const PATIENCE: u64 = 60_000;

    fn start(mut command: Command) -> PtySession {
        command.env("TERM", "xterm").env_remove("NO_COLOR");
        let mut session = spawn_command(command, Some(PATIENCE)).unwrap();
        session.exp_string("Ctrl-D leaves").unwrap();
        session.exp_string("> ").unwrap();
        session
    }

    fn ended(mut session: PtySession) -> Option<i32> {
        session.exp_eof().unwrap();
        match session.process().wait().unwrap() {
            WaitStatus::Exited(_, code) => Some(code),
            other => panic!("{other:?}"),
        }
    }

    /// Types a line, and waits for what it brings and the next prompt.
    fn typed(session: &mut PtySession, line: &str, wanted: &str) {
        session.send(&format!("{line}\r")).unwrap();
        session.flush().unwrap();
        session.exp_string(wanted).unwrap();
        session.exp_string("> ").unwrap();
    }

    #[test]
    fn a_person_types_pastes_and_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let mut session = start(chat(folder.path(), &["--max-tokens", "4"]));
        typed(&mut session, "/help", "/regenerate");
        typed(&mut session, "/frobnicate", "unknown command");
        let pasted = "\x1b[200~one\ntwo \\\nthree\x1b[201~";
        typed(&mut session, pasted, "three");
        typed(&mut session, "four\\\rfive", "five");
        typed(&mut session, "/load absent.json", "error: ");
        typed(&mut session, "/save a.json", "4 messages saved");
        session.send_control('d').unwrap();
        assert_eq!(ended(session), Some(0));
        let said = saved(folder.path(), "a.json");
        assert_eq!(said[0].1, "one\ntwo \\\nthree");
        assert_eq!(said[2].1, "four\nfive");
        // The history outlives the program.
        let mut session = start(chat(folder.path(), &[]));
        session.send("\x1b[A").unwrap();
        session.flush().unwrap();
        session.exp_string("/save a.json").unwrap();
        typed(&mut session, "", "0 messages saved");
        session.send("/exit\r").unwrap();
        session.flush().unwrap();
        assert_eq!(ended(session), Some(0));
    }

    #[test]
    fn ctrl_c_ends_an_answer_and_then_the_program() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = chat(folder.path(), &["--threads", "1", "--max-tokens", "200"]);
        command.env("BITNET_ISA", "scalar");
        let mut session = start(command);
        session.send("ROMEO:\r").unwrap();
        session.flush().unwrap();
        session.exp_string("ROMEO:").unwrap();
        session.exp_char('a').unwrap();
        session.send_control('c').unwrap();
        session.exp_string("> ").unwrap();
        typed(&mut session, "/stats", "last answer: ");
        session.send("half a line").unwrap();
        session.send_control('c').unwrap();
        session.exp_string("leaves)").unwrap();
        session.exp_string("> ").unwrap();
        // What is typed in between begins anew.
        typed(&mut session, "/stats", "last answer: ");
        session.send_control('c').unwrap();
        session.exp_string("leaves)").unwrap();
        session.send_control('c').unwrap();
        assert_eq!(ended(session), Some(130));
    }

    #[test]
    fn a_signal_at_the_prompt_leaves_the_terminal_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let session = start(chat(folder.path(), &[]));
        let terminal = session.process().get_file_handle().unwrap();
        let edits = |it: &std::fs::File| {
            !tcgetattr(it)
                .unwrap()
                .local_modes
                .contains(LocalModes::ICANON)
        };
        assert!(edits(&terminal));
        let mut session = session;
        session.process_mut().signal(Signal::SIGTERM).unwrap();
        assert_eq!(ended(session), Some(143));
        assert!(!edits(&terminal));
    }

    #[test]
    fn a_history_that_cannot_be_kept_does_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = chat(folder.path(), &["--max-tokens", "4"]);
        command.env("XDG_STATE_HOME", "/dev/null/state");
        let mut session = start(command);
        typed(&mut session, "/stats", "turns: 0");
        session.send_control('d').unwrap();
        assert_eq!(ended(session), Some(0));
    }
}
