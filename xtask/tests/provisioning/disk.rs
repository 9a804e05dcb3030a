//! Disks that are full, folders that cannot be written.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use super::server::{Remote, Reply, Server};
use super::workbench::{FILE, Workbench, names_in};

/// A small file system, unmounted at the end; `None` where mounting is not allowed.
///
/// The report goes to standard error itself, past the capture of the test harness: a skipped test
/// must be seen.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(at: &'a Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("created");
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .output();
        let mounted = done.is_ok_and(|output| output.status.success());
        if !mounted {
            let test = std::thread::current();
            let _ = writeln!(
                std::io::stderr(),
                "{}: mounting a tmpfs is not allowed here, skipped or done with permissions",
                test.name().unwrap_or_default()
            );
        }
        mounted.then(|| Self(at))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_disk_too_small_is_noticed_before_the_transfer() {
    let bench = Workbench::new();
    let models = bench.path("models");
    let Some(_mount) = Mount::new(&models, "size=40m") else {
        return;
    };
    let server = Server::of(Remote::noise(1000));
    bench
        .download(&server, &[])
        .exits(10)
        .says("not enough disk space")
        .says("kept free");
    bench.lacks_model_but_holds(&[]);
}

#[test]
fn a_disk_that_fills_up_keeps_the_part() {
    let bench = Workbench::new();
    let models = bench.path("models");
    let Some(_mount) = Mount::new(&models, "size=52m") else {
        return;
    };
    // Of unknown length, so that only the disk itself can tell.
    let server = Server::start(|_, _| {
        Reply::new(200)
            .header("ETag", "\"v1\"")
            .chunked(&vec![7; 60 << 20])
    });
    bench
        .download(&server, &[])
        .exits(10)
        .says("the disk is full");
    bench.lacks_model_but_holds(&["m.gguf.etag", "m.gguf.part"]);
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_an_error_with_its_path() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Workbench::new();
    let models = bench.path("models");
    // Permissions do not bind root; a read-only mount does not need them, but root.
    let mount = Mount::new(&models, "ro");
    if mount.is_none() {
        std::fs::set_permissions(&models, std::fs::Permissions::from_mode(0o555)).expect("changed");
    }
    let server = Server::of(Remote::noise(1000));
    bench
        .download(&server, &[])
        .exits(1)
        .says("models/org-repo")
        .says("Solution");
    assert!(names_in(&models).is_empty());
}

#[test]
fn a_folder_that_is_a_file_is_an_error_with_its_path() {
    let bench = Workbench::new();
    bench.put("models", b"not a folder");
    bench
        .download(&Server::of(Remote::noise(1000)), &[])
        .exits(1)
        .says("models/org-repo")
        .says("Solution");
}

#[test]
fn a_final_name_taken_by_a_folder_is_an_error_and_the_download_is_not_lost() {
    let (bench, remote) = (Workbench::new(), Remote::noise(1000));
    std::fs::create_dir_all(bench.model().join("in the way")).expect("created");
    bench
        .download(&Server::of(remote.clone()), &[])
        .exits(1)
        .says(FILE);
    assert!(bench.names().contains("m.gguf.part"));
    std::fs::remove_dir_all(bench.model()).expect("removed");
    bench.download(&Server::of(remote.clone()), &[]).exits(0);
    bench.holds(&remote);
}
