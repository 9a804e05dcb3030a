//! File names that try to leave the folder.

use super::server::{Remote, Server};
use super::workbench::{Workbench, names_in};

#[test]
fn names_that_climb_or_are_absolute_are_refused_before_anything_happens() {
    let (bench, server) = (Workbench::new(), Server::of(Remote::noise(100)));
    let url = server.url();
    for name in [
        "../../escape",
        "a/../../escape",
        "/etc/escape",
        "..",
        "a//b",
        "",
        "..\\escape",
    ] {
        bench
            .run([
                "download-model",
                "--base-url",
                &url,
                "--id",
                "org/repo",
                "--file",
                name,
            ])
            .exits(2);
    }
    for id in ["../escape", "/etc", "a/b/c", "..", "org/.."] {
        bench
            .run([
                "download-model",
                "--base-url",
                &url,
                "--id",
                id,
                "--file",
                "m.gguf",
            ])
            .exits(2);
    }
    assert!(server.requests().is_empty());
    assert!(names_in(&bench.path("")).is_empty(), "nothing was created");
}

#[test]
fn only_the_last_part_of_the_name_is_used_on_disk() {
    let (bench, remote) = (Workbench::new(), Remote::noise(100));
    let server = Server::of(remote.clone());
    let url = server.url();
    let args = [
        "download-model",
        "--base-url",
        &url,
        "--id",
        "org/repo",
        "--file",
        "deep/down/m.gguf",
        "--rev",
        "v1.0",
    ];
    bench.run(args).exits(0);
    bench.holds(&remote);
    assert_eq!(
        server.requests()[0].target,
        "/org/repo/resolve/v1.0/deep/down/m.gguf"
    );
}
