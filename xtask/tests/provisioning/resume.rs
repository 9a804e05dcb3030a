//! Continuing a part: only onto the same version, only where the ranges fit.

use super::server::{Remote, Reply, Server, noise};
use super::workbench::{FILE, FOLDER, Workbench, sha256};

#[test]
fn a_part_is_continued_under_the_guard_of_its_tag() {
    let (bench, remote) = (Workbench::new(), Remote::noise(50_000));
    bench.put_part(&remote, 20_000);
    let server = Server::of(remote.clone());
    bench
        .download(&server, &[])
        .exits(0)
        .says(&sha256(&remote.bytes));
    bench.holds(&remote);
    let request = &server.requests()[0];
    assert_eq!(
        (request.range_start(), request.header("if-range")),
        (Some(19_999), Some("\"v1\""))
    );
    assert!(server.sent() < 40_000, "only the rest was sent");
}

#[test]
fn a_complete_part_needs_one_byte() {
    let (bench, remote) = (Workbench::new(), Remote::noise(50_000));
    bench.put_part(&remote, 50_000);
    let server = Server::of(remote.clone());
    bench.download(&server, &[]).exits(0);
    bench.holds(&remote);
    assert!(server.sent() < 1000);
}

#[test]
fn a_complete_part_with_the_right_hash_needs_no_server() {
    let (bench, remote) = (Workbench::new(), Remote::noise(50_000));
    bench.put_part(&remote, 50_000);
    let server = Server::start(|_, _| Reply::new(500));
    bench
        .download(&server, &["--sha256", &sha256(&remote.bytes)])
        .exits(0);
    bench.holds(&remote);
    assert!(server.requests().is_empty());
}

#[test]
fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let (bench, remote) = (Workbench::new(), Remote::noise(50_000));
    bench.put_part(&remote, 20_000);
    let whole = remote.clone();
    bench
        .download(&Server::start(move |_, _| whole.whole()), &[])
        .exits(0);
    bench.holds(&remote);
}

#[test]
fn ranges_that_do_not_fit_are_not_trusted() {
    let remote = Remote::noise(50_000);
    let partial = |range: Option<&str>, sent: std::ops::Range<usize>| {
        let reply = Reply::new(206).header("ETag", "\"v1\"");
        let reply = if let Some(range) = range {
            reply.header("Content-Range", range)
        } else {
            reply
        };
        reply.body(&remote.bytes[sent])
    };
    for (name, reply) in [
        (
            "misaligned",
            partial(Some("bytes 10000-49999/50000"), 10_000..50_000),
        ),
        ("no Content-Range", partial(None, 19_999..50_000)),
        ("garbage", partial(Some("bytes abc"), 19_999..50_000)),
        (
            "impossible",
            partial(Some("bytes 19999-60000/50000"), 19_999..50_000),
        ),
        (
            "another length",
            partial(Some("bytes 19999-20000/50000"), 19_999..50_000),
        ),
        (
            "claims to fit, other bytes",
            partial(Some("bytes 19999-49999/50000"), 19_990..49_991),
        ),
        ("416", Reply::new(416).body(b"")),
    ] {
        let (bench, good) = (Workbench::new(), remote.clone());
        bench.put_part(&remote, 20_000);
        let server = Server::start(move |_, request| match request.range_start() {
            Some(_) => reply.clone(),
            None => good.whole(),
        });
        let run = bench.download(&server, &[]);
        assert_eq!(run.code, Some(0), "{name}: {run:?}");
        bench.holds(&remote);
    }
}

#[test]
fn ranges_may_come_in_pieces() {
    let (bench, remote) = (Workbench::new(), Remote::noise(50_000));
    bench.put_part(&remote, 20_000);
    let bytes = remote.bytes.clone();
    let server = Server::start(move |_, request| {
        let start = request.range_start().expect("only ranges are asked for");
        let end = (start + 10_000).min(50_000);
        let range = format!("bytes {start}-{}/50000", end - 1);
        Reply::new(206)
            .header("ETag", "\"v1\"")
            .header("Content-Range", &range)
            .body(&bytes[start..end])
    });
    bench.download(&server, &[]).exits(0);
    bench.holds(&remote);
}

#[test]
fn a_changed_tag_between_attempts_means_a_new_start() {
    let old = Remote::noise(50_000);
    let mut bytes = noise(60_000, 9);
    // The byte that is asked for twice happens to agree, so that only the tag can tell.
    bytes[19_999] = old.bytes[19_999];
    let new = Remote {
        etag: "\"v2\"".into(),
        ..Remote::new(bytes)
    };
    for honours_if_range in [true, false] {
        let (bench, file) = (Workbench::new(), new.clone());
        bench.put_part(&old, 20_000);
        let server = Server::start(move |_, request| match request.range_start() {
            Some(start) if !honours_if_range => file.rest(start),
            _ => file.reply(request),
        });
        bench.download(&server, &[]).exits(0);
        bench.holds(&new);
    }
}

#[test]
fn a_part_of_unknown_version_is_not_used() {
    let (bench, remote) = (Workbench::new(), Remote::noise(50_000));
    bench.put(&format!("{FOLDER}/{FILE}.part"), &[7; 20_000]);
    let server = Server::of(remote.clone());
    bench.download(&server, &[]).exits(0);
    bench.holds(&remote);
    assert_eq!(server.requests()[0].range_start(), None);
}

#[test]
fn a_spoiled_part_costs_a_second_download_but_not_the_file() {
    let (bench, remote) = (Workbench::new(), Remote::noise(50_000));
    bench.put_part(&remote, 20_000);
    let mut spoiled = remote.bytes[..20_000].to_vec();
    spoiled[5] ^= 1;
    bench.put(&format!("{FOLDER}/{FILE}.part"), &spoiled);
    bench
        .download(
            &Server::of(remote.clone()),
            &["--sha256", &sha256(&remote.bytes)],
        )
        .exits(0);
    bench.holds(&remote);
}

#[test]
fn an_interrupted_update_does_not_pass_the_old_file_off_as_the_new() {
    let (bench, old) = (Workbench::new(), Remote::noise(50_000));
    bench.download(&Server::of(old), &[]).exits(0);
    let new = Remote {
        etag: "\"v2\"".into(),
        ..Remote::new(noise(60_000, 9))
    };
    let cut = new.clone();
    let server = Server::start(move |_, request| cut.reply(request).cut_body_at(1000));
    bench.download(&server, &["--retries", "0"]).exits(14);
    bench.download(&Server::of(new.clone()), &[]).exits(0);
    bench.holds(&new);
}

#[test]
fn an_update_cut_before_its_first_byte_does_not_either() {
    let (bench, old) = (Workbench::new(), Remote::noise(50_000));
    bench.download(&Server::of(old), &[]).exits(0);
    let new = Remote {
        etag: "\"v2\"".into(),
        ..Remote::new(noise(60_000, 9))
    };
    let file = new.clone();
    let server = Server::start(move |n, request| match n {
        0 => file.reply(request).cut_body_at(0),
        _ => file.reply(request),
    });
    bench.download(&server, &[]).exits(0);
    bench.holds(&new);
}

#[test]
fn an_empty_part_left_between_two_steps_does_not_pass_the_old_file_off_as_the_new() {
    let (bench, old) = (Workbench::new(), Remote::noise(50_000));
    bench.download(&Server::of(old), &[]).exits(0);
    // As if killed after the new tag was stored and before the first byte.
    let new = Remote {
        etag: "\"v2\"".into(),
        ..Remote::new(noise(60_000, 9))
    };
    bench.put_part(&new, 0);
    bench.download(&Server::of(new.clone()), &[]).exits(0);
    bench.holds(&new);
}
