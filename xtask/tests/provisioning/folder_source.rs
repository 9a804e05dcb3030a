//! A folder in place of a server, for machines without a network.

use super::server::{Remote, noise};
use super::workbench::{FILE, Workbench};

fn download(bench: &Workbench, more: &[&str]) -> super::workbench::Run {
    let mut args = vec![
        "download-model",
        "--id",
        "org/repo",
        "--file",
        FILE,
        "--base-url",
        "carried",
    ];
    args.extend(more);
    bench.run(args)
}

#[test]
fn a_file_carried_in_a_folder_is_copied_whole_and_followed() {
    let (bench, first) = (Workbench::new(), Remote::noise(300_000));
    bench.put("carried/org/repo/m.gguf", &first.bytes);
    download(&bench, &[]).exits(0).says("Downloaded");
    bench.holds(&first);
    download(&bench, &[]).exits(0).says("Up to date");
    let second = Remote::new(noise(300_001, 5));
    bench.put("carried/org/repo/m.gguf", &second.bytes);
    download(&bench, &[]).exits(0).says("Downloaded");
    bench.holds(&second);
}

#[test]
fn a_copy_that_was_interrupted_is_continued() {
    let (bench, remote) = (Workbench::new(), Remote::noise(300_000));
    bench.put("carried/m.gguf", &remote.bytes);
    download(&bench, &[]).exits(0);
    std::fs::remove_file(bench.model()).expect("removed");
    bench.put("models/org-repo/m.gguf.part", &remote.bytes[..1000]);
    download(&bench, &["--verbose"]).exits(0).says("start: 999");
    bench.holds(&remote);
}

#[test]
fn a_folder_without_the_file_says_where_it_looked() {
    let bench = Workbench::new();
    bench.put("carried/other", b"");
    download(&bench, &[])
        .exits(14)
        .says("carried/org/repo/m.gguf")
        .says("models--org--repo");
    bench
        .run(["download-model", "--base-url", "no-such-folder"])
        .exits(2)
        .says("neither an http");
}
