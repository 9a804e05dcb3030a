//! Proxies from the environment, and who gets to see the token.

use super::server::{Remote, Reply, Server};
use super::workbench::Workbench;

const AWAY: [&str; 8] = [
    "download-model",
    "--id",
    "org/repo",
    "--file",
    "m.gguf",
    "--base-url",
    "http://mirror.invalid",
    "--no-progress",
];

#[test]
fn http_proxy_is_used_and_no_proxy_respected() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let proxy = Server::of(remote.clone());
    let mut through = bench.command(AWAY);
    bench
        .finish({
            through.env("HTTP_PROXY", proxy.url());
            through
        })
        .exits(0);
    bench.holds(&remote);
    assert_eq!(
        (
            proxy.requests()[0].method.as_str(),
            proxy.requests()[0].target.as_str()
        ),
        ("CONNECT", "mirror.invalid:80")
    );

    let (bench, server) = (Workbench::new(), Server::of(remote.clone()));
    let mut direct = bench.download_command(&server, &[]);
    direct
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("NO_PROXY", "127.0.0.1");
    bench.finish(direct).exits(0);
    bench.holds(&remote);
}

#[test]
fn https_proxy_is_not_for_plain_addresses() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let server = Server::of(remote.clone());
    let mut command = bench.download_command(&server, &[]);
    command.env("HTTPS_PROXY", "http://127.0.0.1:1");
    bench.finish(command).exits(0);
    bench.holds(&remote);
}

#[test]
fn the_token_goes_to_the_server_asked_and_not_to_where_it_redirects() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let cdn = Server::of(remote.clone());
    let elsewhere = cdn.url().replace("127.0.0.1", "localhost");
    let server = Server::start(move |_, _| {
        Reply::new(302)
            .header("Location", &format!("{elsewhere}/x"))
            .body(b"")
    });
    let mut command = bench.download_command(&server, &[]);
    command.env("HF_TOKEN", "hf_secret");
    bench.finish(command).exits(0);
    bench.holds(&remote);
    assert_eq!(
        server.requests()[0].header("authorization"),
        Some("Bearer hf_secret")
    );
    assert_eq!(cdn.requests()[0].header("authorization"), None);
}

#[test]
fn a_token_is_not_sent_in_the_clear_to_another_machine() {
    let bench = Workbench::new();
    let proxy = Server::of(Remote::noise(1000));
    let mut command = bench.command(AWAY);
    command
        .env("HTTP_PROXY", proxy.url())
        .env("HF_TOKEN", "hf_secret");
    bench.finish(command).exits(0);
    assert!(
        proxy
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );
}

#[test]
fn a_token_that_cannot_be_one_is_refused_before_any_request() {
    let (bench, server) = (Workbench::new(), Server::of(Remote::noise(1000)));
    let mut command = bench.download_command(&server, &[]);
    command.env("HF_TOKEN", "my password");
    let run = bench.finish(command).exits(11).says("HF_TOKEN");
    assert!(!run.err.contains("my password"));
    assert!(server.requests().is_empty());
}
