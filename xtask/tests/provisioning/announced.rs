//! What a hub announces of a file, and what comes instead of it: nothing but the file itself gets
//! its name.

use super::server::{Remote, Reply, Server, noise};
use super::workbench::{FILE, FOLDER, Workbench, sha256};

/// A hub that announces `remote` and leads to `reply`.
fn announcing(remote: &Remote, reply: Reply) -> Server {
    let (hash, size) = (sha256(&remote.bytes), remote.bytes.len());
    Server::start(move |_, request| match request.target.as_str() {
        "/cdn" => reply.clone(),
        _ => Reply::new(302)
            .header("Location", "/cdn")
            .header("X-Linked-ETag", &format!("\"{hash}\""))
            .header("X-Linked-Size", &size.to_string())
            .body(b""),
    })
}

#[test]
fn a_file_that_is_what_was_announced_is_taken() {
    let (bench, remote) = (Workbench::new(), Remote::noise(100_000));
    let server = announcing(&remote, remote.whole());
    bench.download(&server, &[]).exits(0);
    bench.holds(&remote);
}

#[test]
fn damaged_bytes_never_get_the_final_name_and_leave_the_file_that_was_there() {
    let remote = Remote::noise(100_000);
    let mut damaged = remote.bytes.to_vec();
    damaged[50_000] ^= 0xff;
    let reply = Reply::new(200).header("ETag", "\"v2\"").body(&damaged);
    let bench = Workbench::new();
    bench
        .download(&announcing(&remote, reply.clone()), &[])
        .exits(13)
        .says("damaged")
        .says(&sha256(&remote.bytes))
        .says(&sha256(&damaged));
    bench.lacks_model_but_holds(&[]);

    let old = noise(1000, 9);
    bench.put(&format!("{FOLDER}/{FILE}"), &old);
    bench
        .download(&announcing(&remote, reply), &[])
        .exits(13)
        .says("damaged");
    assert_eq!(std::fs::read(bench.model()).expect("still there"), old);
}

#[test]
fn another_length_than_announced_is_refused() {
    let remote = Remote::noise(100_000);
    for len in [99_000, 100_001] {
        let bytes = noise(len, 1);
        let bench = Workbench::new();
        bench
            .download(&announcing(&remote, Reply::new(200).body(&bytes)), &[])
            .exits(13)
            .says("expected 100000");
        bench.lacks_model_but_holds(&[]);
        // Where the server does not say how long its answer is, only the hub's word tells.
        let bench = Workbench::new();
        let run = bench.download(
            &announcing(&remote, Reply::new(200).chunked(&bytes)),
            &["--retries", "0"],
        );
        assert!(matches!(run.code, Some(13 | 14)), "{run:?}");
        assert!(!bench.model().exists());
    }
}

#[test]
fn a_hash_that_the_hub_contradicts_ends_it_before_the_bytes_come() {
    let (bench, remote) = (Workbench::new(), Remote::noise(100_000));
    let server = announcing(&remote, remote.whole());
    let other = "ab".repeat(32);
    bench
        .download(&server, &["--sha256", &other])
        .exits(13)
        .says(&other)
        .says(&sha256(&remote.bytes));
    bench.lacks_model_but_holds(&[]);
}

#[test]
fn a_tag_that_is_no_sha256_announces_nothing() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let good = remote.clone();
    let server = Server::start(move |_, request| {
        good.reply(request).header(
            "X-Linked-ETag",
            "\"0123456789abcdef0123456789abcdef01234567\"",
        )
    });
    bench.download(&server, &[]).exits(0);
    bench.holds(&remote);
}

#[test]
fn pages_pointers_and_other_files_are_not_taken_for_models() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n";
    for (bytes, said) in [
        (
            &b"<!DOCTYPE html>\n<html><body>Log in</body></html>"[..],
            "a web page",
        ),
        (&pointer[..], "Git LFS pointer"),
        (b"PK\x03\x04not a model", "no GGUF file"),
        (b"", "no GGUF file"),
    ] {
        let bench = Workbench::new();
        let body = bytes.to_vec();
        let server = Server::start(move |_, _| Reply::new(200).header("ETag", "\"a\"").body(&body));
        bench.download(&server, &[]).exits(13).says(said);
        bench.lacks_model_but_holds(&[]);
    }
}

#[test]
fn the_pointer_of_a_clone_without_lfs_is_not_copied_as_the_model() {
    let bench = Workbench::new();
    bench.put(
        "clone/m.gguf",
        b"version https://git-lfs.github.com/spec/v1\n",
    );
    bench
        .run([
            "download-model",
            "--id",
            "org/repo",
            "--file",
            FILE,
            "--base-url",
            "clone",
        ])
        .exits(13)
        .says("git lfs pull");
    bench.lacks_model_but_holds(&[]);
}

#[test]
fn the_hubs_own_words_are_shown_in_one_clean_line() {
    for (status, code, reply, said) in [
        (
            403,
            11,
            Reply::new(403).header("X-Error-Message", "You are not in the authorized list"),
            "You are not in the authorized list",
        ),
        (
            404,
            14,
            Reply::new(404).header("X-Error-Code", "EntryNotFound"),
            "EntryNotFound",
        ),
        (500, 14, Reply::new(500), "the disk is gone"),
        (400, 14, Reply::new(400), "the disk is gone"),
    ] {
        let bench = Workbench::new();
        let body = match status {
            500 => &b"{\"error\": \"the disk is gone\"}"[..],
            400 => b"the disk is gone\x1b[31m\n",
            _ => b"",
        };
        let server = Server::start(move |_, _| reply.clone().body(body));
        let run = bench.download(&server, &["--retries", "0"]).exits(code);
        let run = run.says(said);
        assert!(!run.err.contains('\x1b'), "{}", run.err);
    }
}

#[test]
fn what_one_address_said_of_its_version_is_not_asked_of_another() {
    let (bench, new, old) = (Workbench::new(), noise(2000, 1), noise(1000, 2));
    let (new_bytes, old_bytes) = (new.clone(), old.clone());
    // A server without tags, whose revisions have one date.
    let server = Server::start(move |_, request| {
        if request.header("if-modified-since").is_some() {
            return Reply::new(304);
        }
        let bytes = match request.target.contains("/resolve/new/") {
            true => &new_bytes,
            false => &old_bytes,
        };
        Reply::new(200)
            .header("Last-Modified", "Fri, 01 Jan 2021 00:00:00 GMT")
            .body(bytes)
    });
    bench.download(&server, &["--rev", "new"]).exits(0);
    bench
        .download(&server, &["--rev", "new"])
        .exits(0)
        .says("Up to date");
    assert_eq!(std::fs::read(bench.model()).expect("there"), new);
    bench
        .download(&server, &["--rev", "old"])
        .exits(0)
        .says("Downloaded");
    assert_eq!(std::fs::read(bench.model()).expect("there"), old);
}
