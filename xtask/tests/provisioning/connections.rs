//! Connections that are cut, stall, or lie about lengths.

use std::time::Duration;

use super::server::{Remote, Reply, Server};
use super::workbench::{FILE, Workbench, sha256};

#[test]
fn a_good_server_gives_the_file_and_its_validators() {
    let (bench, remote) = (Workbench::new(), Remote::noise(300_000));
    let server = Server::of(remote.clone());
    bench
        .download(&server, &[])
        .exits(0)
        .says(&sha256(&remote.bytes));
    bench.holds(&remote);
    assert!(bench.names().contains("m.gguf.etag") && bench.names().contains("m.gguf.lastmod"));
    let request = &server.requests()[0];
    assert_eq!(request.target, "/org/repo/resolve/main/m.gguf");
    assert_eq!(
        request.header("accept-encoding"),
        Some("identity"),
        "lengths must be those of the file"
    );
}

#[test]
fn a_second_run_asks_only_for_changes() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let server = Server::of(remote.clone());
    bench.download(&server, &[]).exits(0);
    bench.download(&server, &[]).exits(0).says("Up to date");
    bench.holds(&remote);
    let second = &server.requests()[1];
    assert_eq!(second.header("if-none-match"), Some("\"v1\""));
    assert_eq!(
        second.header("if-modified-since"),
        Some("Fri, 01 Jan 2021 00:00:00 GMT")
    );
}

#[test]
fn force_downloads_again_without_conditions_or_leftovers() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let server = Server::of(remote.clone());
    bench.download(&server, &[]).exits(0);
    bench.put_part(&remote, 500);
    bench
        .download(&server, &["--force"])
        .exits(0)
        .says("Downloaded");
    bench.holds(&remote);
    let second = &server.requests()[1];
    assert!(second.header("if-none-match").is_none() && second.header("range").is_none());
}

#[test]
fn a_new_version_on_the_server_replaces_the_file() {
    let (bench, old) = (Workbench::new(), Remote::noise(1000));
    bench.download(&Server::of(old), &[]).exits(0);
    let new = Remote {
        etag: "\"v2\"".into(),
        ..Remote::noise(2000)
    };
    bench.download(&Server::of(new.clone()), &[]).exits(0);
    bench.holds(&new);
}

#[test]
fn a_connection_cut_anywhere_is_taken_up_again() {
    let remote = Remote::noise(200_000);
    let head = remote.whole().head_len();
    for cut in [
        0,
        1,
        9,
        15,
        head - 3,
        head - 1,
        head,
        head + 1,
        head + 100_000,
        head + 199_999,
    ] {
        let (bench, faulty) = (Workbench::new(), remote.clone());
        let server = Server::start(move |n, request| match n {
            0 => faulty.reply(request).cut_at(cut),
            _ => faulty.reply(request),
        });
        bench.download(&server, &[]).exits(0);
        bench.holds(&remote);
        let held = (cut > head).then(|| cut - head);
        assert_eq!(
            server.requests()[1].range_start(),
            held.map(|held| held - 1),
            "cut at {cut}"
        );
    }
}

#[test]
fn many_cuts_in_a_row_still_end_well_as_long_as_bytes_arrive() {
    let (bench, remote) = (Workbench::new(), Remote::noise(8 << 20));
    let faulty = remote.clone();
    let server = Server::start(move |_, request| faulty.reply(request).cut_body_at((1 << 20) + 10));
    bench.download(&server, &["--retries", "1"]).exits(0);
    bench.holds(&remote);
}

#[test]
fn a_server_that_always_cuts_is_given_up_and_the_part_is_kept() {
    let (bench, remote) = (Workbench::new(), Remote::noise(200_000));
    let faulty = remote.clone();
    let server = Server::start(move |_, request| faulty.reply(request).cut_body_at(1000));
    bench
        .download(&server, &["--retries", "2"])
        .exits(14)
        .says("attempt 3/3");
    bench.lacks_model_but_holds(&["m.gguf.etag", "m.gguf.lastmod", "m.gguf.part"]);
    bench.download(&Server::of(remote.clone()), &[]).exits(0);
    bench.holds(&remote);
}

#[test]
fn a_server_that_makes_us_begin_again_and_again_is_given_up() {
    // Each time another version, and each time cut after more than enough for a fresh start.
    let (bench, bytes) = (Workbench::new(), Remote::noise(4 << 20));
    let server = Server::start(move |n, _| {
        let version = Remote {
            etag: format!("\"v{n}\""),
            ..bytes.clone()
        };
        version.whole().cut_body_at(3 << 20)
    });
    bench.download(&server, &["--retries", "2"]).exits(14);
    assert!(!bench.model().exists());
}

#[test]
fn a_body_shorter_than_its_length_is_never_a_file() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let short = remote.clone();
    let server = Server::start(move |_, _| {
        Reply::new(200)
            .header("Content-Length", "2000")
            .raw_body(&short.bytes)
    });
    bench.download(&server, &["--retries", "1"]).exits(14);
    assert!(!bench.model().exists());
}

#[test]
fn a_length_shorter_than_the_file_is_caught_by_the_hash() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let long = remote.clone();
    let server = Server::start(move |_, _| {
        Reply::new(200)
            .header("Content-Length", "900")
            .raw_body(&long.bytes)
    });
    bench
        .download(&server, &["--sha256", &sha256(&remote.bytes)])
        .exits(13);
    bench.lacks_model_but_holds(&[]);
}

#[test]
fn a_chunked_body_is_taken_and_a_cut_one_is_not() {
    let remote = Remote::noise(200_000);
    for (cut, code) in [(None, 0), (Some(100_000), 14)] {
        let (bench, bytes) = (Workbench::new(), remote.bytes.clone());
        let server = Server::start(move |_, _| {
            let reply = Reply::new(200).chunked(&bytes);
            if let Some(cut) = cut {
                reply.cut_body_at(cut)
            } else {
                reply
            }
        });
        bench.download(&server, &["--retries", "1"]).exits(code);
        assert_eq!(bench.model().exists(), code == 0);
        if code == 0 {
            bench.holds(&remote);
        }
    }
}

#[test]
fn a_body_whose_end_cannot_be_told_from_a_cut_is_taken_only_with_a_hash() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let bytes = remote.bytes.clone();
    let server = Server::start(move |_, _| Reply::new(200).raw_body(&bytes));
    bench.download(&server, &[]).exits(14).says("--sha256");
    bench.lacks_model_but_holds(&[]);
    bench
        .download(&server, &["--sha256", &sha256(&remote.bytes)])
        .exits(0);
    bench.holds(&remote);
}

#[test]
fn a_compressed_body_is_refused() {
    let bench = Workbench::new();
    let server = Server::start(|_, _| {
        Reply::new(200)
            .header("Content-Encoding", "gzip")
            .body(b"not the file")
    });
    bench
        .download(&server, &["--retries", "0"])
        .exits(14)
        .says("gzip");
    bench.lacks_model_but_holds(&[]);
}

#[test]
fn silence_and_slow_loris_are_given_up() {
    let remote = Remote::noise(100_000);
    let slow = Duration::from_millis(20);
    let silent_head = Reply::new(200).cut_at(10).hang();
    let silent_body = remote.whole().cut_body_at(500).hang();
    let dripping_head = remote.whole().drip(1, slow);
    // Two bytes at a time: far below the slowest pace that counts as a transfer.
    let dripping_body = remote.whole().drip_body(2, slow);
    for (name, reply) in [
        ("head", silent_head),
        ("body", silent_body),
        ("slow head", dripping_head),
        ("slow body", dripping_body),
    ] {
        let bench = Workbench::new();
        let server = Server::start(move |_, _| reply.clone());
        let run = bench.download(&server, &["--retries", "1", "--stall-timeout", "0.3"]);
        assert_eq!(run.code, Some(14), "{name}: {run:?}");
        assert!(!bench.model().exists(), "{name}");
        assert_eq!(server.requests().len(), 2, "{name}");
    }
}

#[test]
fn progress_is_a_line_for_each_tenth_where_there_is_no_terminal() {
    let (bench, remote) = (Workbench::new(), Remote::noise(4 << 20));
    let server = Server::of(remote.clone());
    let run = bench
        .download(&server, &[])
        .exits(0)
        .says(" 50 %")
        .says("100 %")
        .says("/s")
        .says("left");
    assert!(
        run.err.lines().filter(|line| line.contains(" %")).count() <= 10,
        "{run:?}"
    );
    let quiet = bench
        .download(&server, &["--force", "--no-progress"])
        .exits(0);
    assert!(!quiet.err.contains('%'), "{quiet:?}");
    assert!(run.out.contains(FILE));
}
