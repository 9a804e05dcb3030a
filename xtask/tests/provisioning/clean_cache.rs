//! What `clean-cache` removes, and what it must not touch.

use std::io::Write as _;
use std::process::Stdio;

use super::workbench::{Run, Workbench};

fn repository() -> Workbench {
    let bench = Workbench::new();
    bench.put("Cargo.toml", b"[workspace]\n");
    bench.put("target/release/x", &[0; 5000]);
    bench.put("crossval/fixtures/f", b"f");
    bench.put("crossval/src/lib.rs", b"kept");
    bench.put("models/org-repo/m.gguf", b"m");
    bench.put(".cache/bitnet_cpp/build/b", b"b");
    bench.put(".cache/other/o", b"kept");
    bench
}

const REMOVABLE: [&str; 4] = ["target", "crossval/fixtures", "models", ".cache/bitnet_cpp"];

fn answer(bench: &Workbench, answers: &str) -> Run {
    let mut child = bench
        .command(["clean-cache"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("spawned");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(answers.as_bytes())
        .expect("written");
    let output = child.wait_with_output().expect("a status");
    Run {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into(),
        err: String::from_utf8_lossy(&output.stderr).into(),
    }
}

#[test]
fn yes_removes_the_listed_folders_and_nothing_else() {
    let bench = repository();
    bench
        .run(["clean-cache", "--yes"])
        .exits(0)
        .says("4.88 KiB");
    for name in REMOVABLE {
        assert!(!bench.path(name).exists(), "{name}");
    }
    for name in ["Cargo.toml", "crossval/src/lib.rs", ".cache/other/o"] {
        assert!(bench.path(name).exists(), "{name}");
    }
}

#[test]
fn a_dry_run_and_silence_remove_nothing() {
    let bench = repository();
    bench
        .run(["clean-cache", "--dry-run"])
        .exits(0)
        .says("4.88 KiB");
    bench.run(["clean-cache"]).exits(0);
    answer(&bench, "n\nno\n\nmaybe\n")
        .exits(0)
        .says("Freed 0 B");
    for name in REMOVABLE {
        assert!(bench.path(name).exists(), "{name}");
    }
}

#[test]
fn each_folder_is_asked_for_and_only_a_yes_removes_it() {
    let bench = repository();
    answer(&bench, "y\nn\nYES\n").exits(0);
    let left: Vec<_> = REMOVABLE
        .iter()
        .filter(|name| bench.path(name).exists())
        .collect();
    assert_eq!(left, [&"crossval/fixtures", &".cache/bitnet_cpp"]);
}

#[cfg(unix)]
#[test]
fn no_symbolic_link_leads_out() {
    let bench = repository();
    bench.put("outside/precious", b"kept");
    std::fs::remove_dir_all(bench.path("models")).expect("removed");
    std::fs::remove_dir_all(bench.path(".cache")).expect("removed");
    // A listed folder that is a link, one below a link, and a link inside a listed folder.
    std::os::unix::fs::symlink(bench.path("outside"), bench.path("models")).expect("linked");
    bench.put("outside/bitnet_cpp/precious", b"kept");
    std::os::unix::fs::symlink(bench.path("outside"), bench.path(".cache")).expect("linked");
    std::os::unix::fs::symlink(bench.path("outside"), bench.path("target/link")).expect("linked");
    bench
        .run(["clean-cache", "--yes"])
        .exits(0)
        .says("symbolic link");
    assert!(
        bench.path("outside/precious").exists()
            && bench.path("outside/bitnet_cpp/precious").exists()
    );
    assert!(!bench.path("target").exists() && bench.path("models").exists());
}

#[test]
fn outside_a_workspace_nothing_is_removed() {
    let bench = Workbench::new();
    bench.put("target/x", b"kept");
    bench
        .run(["clean-cache", "--yes"])
        .exits(1)
        .says("not inside a workspace");
    assert!(bench.path("target/x").exists());
}
