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
        ("GET", "http://mirror.invalid/org/repo/resolve/main/m.gguf"),
        "a plain address is asked of the proxy, not tunnelled"
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
fn socks_proxies_are_used_and_look_names_up_themselves_where_they_are_asked_to() {
    let remote = Remote::noise(1000);
    for scheme in ["socks5h", "socks"] {
        let (bench, proxy) = (Workbench::new(), Server::socks_of(remote.clone()));
        let mut command = bench.command(AWAY);
        command.env("ALL_PROXY", format!("{scheme}://{}", proxy.address()));
        bench.finish(command).exits(0);
        bench.holds(&remote);
        let requests = proxy.requests();
        assert_eq!(
            (requests[0].method.as_str(), requests[0].target.as_str()),
            ("SOCKS", "mirror.invalid")
        );
    }
}

#[test]
fn a_proxy_that_cannot_be_used_is_an_error_that_names_its_variable() {
    for (variable, value) in [
        ("ALL_PROXY", "socks9://127.0.0.1:1"),
        ("http_proxy", "ftp://127.0.0.1:1"),
        ("HTTP_PROXY", "http://"),
        ("all_proxy", "http://exa mple"),
    ] {
        let bench = Workbench::new();
        let mut command = bench.command(AWAY);
        command.env(variable, value);
        bench.finish(command).exits(14).says(variable);
    }
    for value in ["socks5h://127.0.0.1:1", "http://127.0.0.1:1"] {
        let bench = Workbench::new();
        let mut command = bench.command(AWAY);
        command.args(["--retries", "0"]).env("ALL_PROXY", value);
        bench.finish(command).exits(14).says("cannot connect");
    }
}

#[test]
fn a_proxy_that_asks_for_a_password_is_quoted_at_once() {
    let bench = Workbench::new();
    let proxy = Server::start(|_, _| Reply::new(407).body(b"who are you?"));
    let mut command = bench.command(AWAY);
    command.env("HTTP_PROXY", proxy.url());
    bench
        .finish(command)
        .exits(14)
        .says("name and a password")
        .says("who are you?");
    assert_eq!(proxy.requests().len(), 1);

    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let proxy = Server::of(remote.clone());
    let mut command = bench.command(AWAY);
    let url = format!("http://me:secret@{}", proxy.address());
    command.env("HTTP_PROXY", url);
    bench.finish(command).exits(0);
    let sent = proxy.requests()[0]
        .header("proxy-authorization")
        .map(str::to_owned);
    assert_eq!(sent.as_deref(), Some("Basic bWU6c2VjcmV0"));
}

#[test]
fn a_name_that_is_none_ends_it_at_once() {
    let bench = Workbench::new();
    let run = bench.finish(bench.command(AWAY)).exits(14);
    let run = run.says("mirror.invalid cannot be resolved");
    assert!(!run.err.contains("attempt 2"), "{}", run.err);
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
fn the_token_does_not_follow_to_another_port_of_the_same_host() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    let other = Server::of(remote.clone());
    let elsewhere = other.url();
    let server = Server::start(move |_, request| match request.target.as_str() {
        "/again" => Reply::new(307)
            .header("Location", &format!("{elsewhere}/x"))
            .body(b""),
        _ => Reply::new(302).header("Location", "/again").body(b""),
    });
    let mut command = bench.download_command(&server, &[]);
    command.env("HF_TOKEN", "hf_secret");
    bench.finish(command).exits(0);
    bench.holds(&remote);
    let sent: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.header("authorization").is_some())
        .collect();
    assert_eq!(sent, [true, true], "the same server, asked twice");
    assert_eq!(other.requests()[0].header("authorization"), None);
}

/// Where a login leaves its token, with the variables that lead there.
const LOGINS: [(&str, &[(&str, &str)]); 4] = [
    (".cache/huggingface/token", &[]),
    ("hub/token", &[("HF_HOME", "hub")]),
    ("caches/huggingface/token", &[("XDG_CACHE_HOME", "caches")]),
    (
        "my-token",
        &[("HF_TOKEN_PATH", "my-token"), ("HF_HOME", "hub")],
    ),
];

#[test]
fn the_token_of_a_login_is_found_where_the_hubs_own_programs_leave_it() {
    for (file, variables) in LOGINS {
        let (bench, remote) = (Workbench::new(), Remote::noise(1000));
        bench.put(file, b"any-form.of_token\n");
        let gated = remote.clone();
        let server = Server::start(move |_, request| match request.header("authorization") {
            Some("Bearer any-form.of_token") => gated.reply(request),
            _ => Reply::new(401)
                .header("X-Error-Code", "GatedRepo")
                .body(b""),
        });
        let mut command = bench.download_command(&server, &[]);
        command.envs(variables.iter().copied());
        bench.finish(command).exits(0);
        bench.holds(&remote);

        let bench = Workbench::new();
        bench.put(file, b"any-form.of_token\n");
        let mut command = bench.download_command(&server, &[]);
        command.envs(variables.iter().copied());
        command.env("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        bench.finish(command).exits(11).says("GatedRepo");
    }
}

#[test]
fn a_login_that_has_expired_does_not_keep_from_what_is_open_to_all() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    bench.put(".cache/huggingface/token", b"hf_expired");
    let open = remote.clone();
    let server = Server::start(move |_, request| match request.header("authorization") {
        Some(_) => Reply::new(401).body(b"Invalid username or password."),
        None => open.reply(request),
    });
    bench.download(&server, &[]).exits(0).says("earlier login");
    bench.holds(&remote);
    assert_eq!(server.requests().len(), 2);

    let bench = Workbench::new();
    let mut command = bench.download_command(&server, &[]);
    command.env("HF_TOKEN", "hf_given_for_this_run");
    bench.finish(command).exits(11).says("Invalid username");
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
