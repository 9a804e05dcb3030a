//! What the server says instead of a file, and the exit code for it.

use super::server::{Remote, Reply, Server};
use super::workbench::{Workbench, sha256};

#[test]
fn refusals_have_their_codes_and_leave_nothing() {
    for (status, code, said) in [
        (401, 11, "HF_TOKEN"),
        (403, 11, "HF_TOKEN"),
        (404, 14, "not found"),
        (410, 14, "not found"),
        (400, 14, "HTTP 400"),
        (451, 14, "HTTP 451"),
    ] {
        let bench = Workbench::new();
        let server = Server::start(move |_, _| Reply::new(status).body(b"no"));
        bench.download(&server, &[]).exits(code).says(said);
        bench.lacks_model_but_holds(&[]);
        assert_eq!(server.requests().len(), 1, "{status} is not worth a retry");
    }
}

#[test]
fn trouble_that_passes_is_waited_out() {
    let retry_at_once = |status| Reply::new(status).header("Retry-After", "0").body(b"");
    for (name, trouble) in [
        ("429", Reply::new(429).body(b"")),
        ("429 with Retry-After", retry_at_once(429)),
        (
            "429 with a date",
            Reply::new(429)
                .header("Retry-After", "Fri, 01 Jan 2021 00:00:00 GMT")
                .body(b""),
        ),
        ("500", Reply::new(500).body(b"")),
        ("503 with Retry-After", retry_at_once(503)),
        ("408", Reply::new(408).body(b"")),
    ] {
        let (bench, remote) = (Workbench::new(), Remote::noise(1000));
        let good = remote.clone();
        let server = Server::start(move |n, request| {
            if n < 2 {
                trouble.clone()
            } else {
                good.reply(request)
            }
        });
        let run = bench.download(&server, &[]);
        assert_eq!(run.code, Some(0), "{name}: {run:?}");
        bench.holds(&remote);
    }
}

#[test]
fn trouble_that_lasts_has_its_code() {
    for (status, code) in [(429, 12), (500, 14), (503, 14)] {
        let bench = Workbench::new();
        let server = Server::start(move |_, _| Reply::new(status).body(b""));
        bench.download(&server, &["--retries", "2"]).exits(code);
        bench.lacks_model_but_holds(&[]);
        assert_eq!(server.requests().len(), 3);
    }
}

#[test]
fn a_pause_longer_than_the_limit_is_not_waited_for() {
    let bench = Workbench::new();
    let server = Server::start(|_, _| Reply::new(429).header("Retry-After", "86400").body(b""));
    bench.download(&server, &[]).exits(12).says("86400 s");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn endless_redirects_end() {
    let bench = Workbench::new();
    let server = Server::start(|n, _| {
        Reply::new(302)
            .header("Location", &format!("/again/{n}"))
            .body(b"")
    });
    bench.download(&server, &[]).exits(14).says("redirects");
    bench.lacks_model_but_holds(&[]);
}

#[test]
fn a_redirect_is_followed() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let good = remote.clone();
    let server = Server::start(move |_, request| match request.target.as_str() {
        "/cdn/file" => good.reply(request),
        _ => Reply::new(302).header("Location", "/cdn/file").body(b""),
    });
    bench.download(&server, &[]).exits(0);
    bench.holds(&remote);
}

#[test]
fn a_body_with_another_hash_is_removed_with_its_metadata() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let server = Server::of(remote);
    let expected = "ab".repeat(32);
    bench
        .download(&server, &["--sha256", &expected])
        .exits(13)
        .says(&expected);
    bench.lacks_model_but_holds(&[]);
}

#[test]
fn a_file_that_lost_its_hash_is_removed_even_if_the_server_has_nothing_newer() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let server = Server::of(remote.clone());
    bench.download(&server, &[]).exits(0);
    std::fs::write(bench.model(), b"spoiled").expect("written");
    let expected = sha256(&remote.bytes);
    bench.download(&server, &["--sha256", &expected]).exits(13);
    bench.lacks_model_but_holds(&[]);
    bench.download(&server, &["--sha256", &expected]).exits(0);
    bench.holds(&remote);
}

#[test]
fn a_file_that_has_its_hash_needs_no_server() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let server = Server::of(remote.clone());
    let expected = sha256(&remote.bytes).to_uppercase();
    bench
        .download(&server, &["--sha256", &expected])
        .exits(0)
        .says("Downloaded");
    bench
        .download(&server, &["--sha256", &expected])
        .exits(0)
        .says("Up to date");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn no_server_at_all_is_a_network_error() {
    let bench = Workbench::new();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let url = format!("http://{free}");
    bench
        .run([
            "download-model",
            "--base-url",
            &url,
            "--retries",
            "1",
            "--backoff",
            "0.01",
        ])
        .exits(14)
        .says("Troubleshooting");
}
