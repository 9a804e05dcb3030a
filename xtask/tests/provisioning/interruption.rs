//! Ctrl-C, `kill -9`, and two writers at once.

#![cfg(unix)]

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bitnet_fixtures::Noise;

use super::server::{Remote, Reply, Server};
use super::workbench::{FILE, FOLDER, Workbench, sha256};

/// Wait until `happened`, or until the program has ended by itself. A minute is for machines in
/// trouble; it is a failure.
fn wait_for(child: &mut Child, mut happened: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if happened() || child.try_wait().expect("a child").is_some() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("it did not come to pass within a minute");
}

fn interrupt(child: &Child) {
    let command = format!("kill -INT {}", child.id());
    assert!(
        Command::new("sh")
            .args(["-c", &command])
            .status()
            .expect("a shell")
            .success()
    );
}

#[test]
fn ctrl_c_keeps_the_part_and_removes_the_lock() {
    let (bench, remote) = (Workbench::new(), Remote::noise(500_000));
    let file = remote.clone();
    // Silent after half of it: the program sits in a read that only the interrupt can end.
    let server = Server::start(move |_, _| file.whole().cut_body_at(250_000).hang());
    let mut child = bench.start_download(&server, &["--stall-timeout", "600"]);
    let part = bench.path(FOLDER).join("m.gguf.part");
    wait_for(&mut child, || {
        part.metadata().is_ok_and(|about| about.len() == 250_000)
    });
    interrupt(&child);
    assert_eq!(child.wait().expect("a status").code(), Some(130));
    bench.lacks_model_but_holds(&["m.gguf.etag", "m.gguf.lastmod", "m.gguf.part"]);
    bench.download(&Server::of(remote.clone()), &[]).exits(0);
    bench.holds(&remote);
}

#[test]
fn ctrl_c_ends_a_pause_and_a_wait_for_another_writer() {
    let bench = Workbench::new();
    let server = Server::start(|_, _| Reply::new(429).header("Retry-After", "250").body(b""));
    let mut pausing = bench.start_download(&server, &[]);
    wait_for(&mut pausing, || server.requests().len() == 1);
    let mut waiting = bench
        .download_command(&server, &[])
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawned");
    // Its handler is in place before it reports the wait on standard error.
    let mut said = [0];
    std::io::Read::read_exact(waiting.stderr.as_mut().expect("piped"), &mut said).expect("a line");
    interrupt(&waiting);
    assert_eq!(waiting.wait().expect("a status").code(), Some(130));
    assert!(
        bench.names().contains("m.gguf.lock"),
        "the first still holds it"
    );
    interrupt(&pausing);
    assert_eq!(pausing.wait().expect("a status").code(), Some(130));
    bench.lacks_model_but_holds(&[]);
}

#[test]
fn two_writers_at_once_make_one_download() {
    let (bench, remote) = (Workbench::new(), Remote::noise(2_000_000));
    let file = remote.clone();
    let server = Server::start(move |_, request| {
        file.reply(request).drip(200_000, Duration::from_millis(5))
    });
    let mut writers: Vec<_> = (0..3).map(|_| bench.start_download(&server, &[])).collect();
    for writer in &mut writers {
        assert_eq!(writer.wait().expect("a status").code(), Some(0));
    }
    bench.holds(&remote);
    let whole = server
        .requests()
        .iter()
        .filter(|request| request.header("if-none-match").is_none())
        .count();
    assert_eq!(whole, 1, "the others were told that it has not changed");
}

#[test]
fn the_lock_of_a_dead_owner_does_not_block() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    bench.put(&format!("{FOLDER}/{FILE}.lock"), b"process 1\n");
    bench.download(&Server::of(remote.clone()), &[]).exits(0);
    bench.holds(&remote);
}

#[test]
fn killed_at_twenty_moments_and_resumed_the_file_is_right_or_absent() {
    let remote = Remote::noise(1_000_000);
    let hash = sha256(&remote.bytes);
    let allowed: BTreeSet<String> = ["", ".part", ".lock", ".etag", ".lastmod"]
        .map(|suffix| format!("{FILE}{suffix}"))
        .into();
    let mut noise = Noise::new(42);
    let mut resumed = 0;
    for round in 0..20 {
        let bench = Workbench::new();
        let file = remote.clone();
        let server = Server::start(move |_, request| {
            file.reply(request).drip(50_000, Duration::from_millis(1))
        });
        // Three times each, so that leftovers of leftovers are met as well.
        for _ in 0..3 {
            let moment = server.sent() + u64::from(noise.below(1_050_000));
            let mut child = bench.start_download(&server, &[]);
            wait_for(&mut child, || server.sent() >= moment);
            let _ = child.kill();
            child.wait().expect("a status");
            // A file that is written beside its place has a name of its own.
            let whole = |name: &String| !name.ends_with(".partial");
            let names: BTreeSet<String> = bench.names().into_iter().filter(whole).collect();
            assert!(
                names.is_subset(&allowed),
                "round {round}: left behind {:?}",
                bench.names()
            );
            if bench.model().exists() {
                assert!(
                    std::fs::read(bench.model()).expect("readable") == *remote.bytes,
                    "round {round}: wrong file"
                );
            }
        }
        bench.download(&server, &["--sha256", &hash]).exits(0);
        bench.holds(&remote);
        resumed += usize::from(
            server
                .requests()
                .iter()
                .any(|request| request.range_start().is_some()),
        );
    }
    assert!(
        resumed > 10,
        "most of the rounds continued a part; {resumed} did"
    );
}
