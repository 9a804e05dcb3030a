//! What holds where the lanes are built: `cargo xtask setup-cpp-auto`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bitnet_crossval::lane::{Home, Lane};

use super::workbench::{Workbench, finish, path_with};

/// The cache with the built lanes.
pub(crate) fn cache() -> PathBuf {
    let home = Home::named_by(std::env::var_os).expect("a cache");
    for lane in Lane::ALL {
        let built = home.path().join(lane.name()).join("lane.json");
        assert!(
            built.is_file(),
            "{} is not built: run `cargo xtask setup-cpp-auto --backend bitnet,llama,transformers`, \
             or leave the feature `crossval-cpp` off",
            lane.reference()
        );
    }
    home.path().to_owned()
}

/// The folder of the lane's built C++.
fn reference(lane: Lane) -> PathBuf {
    let start = format!("{}-", lane.name());
    let is_it = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&start);
    let mut found = fs::read_dir(cache().join("reference"))
        .expect("references")
        .flatten();
    found.find(is_it).expect("the lane's reference").path()
}

/// Copies a lane's folder from the cache to that of the test, to be tampered with.
pub(crate) fn borrow(bench: &Workbench, lane: Lane) -> PathBuf {
    let (from, to) = (cache().join(lane.name()), bench.cache().join(lane.name()));
    fs::create_dir_all(&to).expect("created");
    for entry in fs::read_dir(from).expect("a lane").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
    to
}

#[test]
fn built_lanes_are_ready_and_say_what_they_are() {
    let bench = Workbench::new();
    let run = |arguments: &[&str]| finish(bench.command_on(&cache(), arguments));
    run(&["preflight", "--no-repair"])
        .exits(0)
        .says("bitnet.cpp of bitnet-cpp-sys 0.0.5")
        .says("llama.cpp of llama-cpp-sys-2 0.1.161");
    run(&[
        "preflight",
        "--no-repair",
        "--verbose",
        "--backend",
        "bitnet",
    ])
    .exits(0)
    .says("fingerprint: ")
    .says("compiled for: ")
    .says("the pinned source is used");
}

#[test]
fn what_is_built_is_not_built_again_and_its_exports_lead_back_to_it() {
    let bench = Workbench::new();
    let mut command = bench.command_on(&cache(), &["setup-cpp-auto", "--emit", "sh"]);
    // Nothing to build with.
    command.env("PATH", "");
    let run = finish(command).exits(0);
    let mut command = bench.command(&["preflight", "--no-repair"]);
    for line in run.out.lines() {
        let assignment = line.strip_prefix("export ").expect("an export");
        let (name, value) = assignment.split_once('=').expect("an assignment");
        let value = value.trim_matches('\'');
        assert!(Path::new(value).is_dir(), "{line}");
        command.env(name, value);
    }
    finish(command)
        .exits(0)
        .says("of bitnet-cpp-sys")
        .says("of llama-cpp-sys-2");
}

#[test]
fn a_lane_of_other_sources_is_out_of_date_by_name() {
    let bench = Workbench::new();
    let manifest = borrow(&bench, Lane::LlamaCpp).join("lane.json");
    let text = fs::read_to_string(&manifest).expect("a manifest");
    let at = text.find("\"fingerprint\": \"").expect("a fingerprint") + 16;
    let (found, wanted) = ("0123456789ab", text[at..at + 12].to_owned());
    fs::write(&manifest, text.replace(&wanted, found)).expect("written");
    bench
        .run(&["preflight", "--no-repair", "--backend", "llama"])
        .exits(2)
        .says("out of date")
        .says(found)
        .says(&wanted);
}

#[test]
fn a_lane_that_crashes_is_an_error_of_that_lane_only() {
    let bench = Workbench::new();
    let broken = borrow(&bench, Lane::BitnetCpp).join("bitnet-lane-bitnet-cpp");
    borrow(&bench, Lane::LlamaCpp);
    fs::remove_file(&broken).expect("removed");
    bench.put_program(
        "cache/bitnet-cpp/bitnet-lane-bitnet-cpp",
        "echo out of luck >&2; kill -SEGV $$",
    );
    bench
        .run(&["preflight", "--no-repair"])
        .exits(2)
        .says("bitnet-cpp lane: the process ended (signal 11)")
        .says("out of luck")
        .says("llama.cpp backend available");
}

/// As after the cache was carried to a machine with another processor.
#[test]
fn a_lane_that_crashes_is_built_again_with_its_reference() {
    let bench = Workbench::new();
    let broken = borrow(&bench, Lane::BitnetCpp).join("bitnet-lane-bitnet-cpp");
    fs::remove_file(&broken).expect("removed");
    bench.put_program("cache/bitnet-cpp/bitnet-lane-bitnet-cpp", "kill -ILL $$");
    let name = reference(Lane::BitnetCpp)
        .file_name()
        .expect("a name")
        .to_owned();
    fs::create_dir_all(bench.cache().join("reference").join(name)).expect("created");
    bench.put_program("tools/clang", "exit 1");
    for command in ["setup-cpp-auto", "preflight"] {
        let mut command = bench.command(&[command, "--backend", "bitnet"]);
        command.env("PATH", path_with(&bench.path("tools")));
        finish(command).exits(5).says("configure failed");
    }
}

#[test]
fn a_failed_build_is_code_5_and_leaves_nothing_that_looks_built() {
    let bench = Workbench::new();
    bench.put_program("tools/clang", "echo no such luck >&2; exit 1");
    let mut command = bench.command(&["setup-cpp-auto", "--backend", "bitnet"]);
    command.env("PATH", path_with(&bench.path("tools")));
    finish(command)
        .exits(5)
        .says("configure failed")
        .says("bitnet-cpp.log");
    assert_eq!(bench.built(), [""; 0]);
    let log = fs::read_to_string(bench.cache().join("logs/bitnet-cpp.log")).expect("a log");
    assert!(log.contains("no such luck"), "{log}");
}

/// Ctrl-C while CMake runs: the group of the build ends, and what it had begun is gone.
#[test]
fn an_interrupted_build_is_code_130_and_leaves_nothing_that_looks_built() {
    let bench = Workbench::new();
    let started = bench.path("started");
    bench.put_program(
        "tools/cmake",
        &format!("touch {}; exec sleep 600", started.display()),
    );
    let mut command = bench.command(&["setup-cpp-auto", "--backend", "bitnet"]);
    command.env("PATH", path_with(&bench.path("tools")));
    let mut child = command.spawn().expect("spawned");
    while !started.exists() {
        assert!(
            child.try_wait().expect("a child").is_none(),
            "it ended before it configured"
        );
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill runs").success());
    assert_eq!(child.wait().expect("a status").code(), Some(130));
    assert_eq!(bench.built(), [""; 0]);
}

/// The built references under another name stand for installations of the user's.
#[test]
fn lanes_are_built_around_installations_that_the_user_names() {
    let bench = Workbench::new();
    let mut setup = bench.command(&["setup-cpp-auto"]);
    let mut preflight = bench.command(&["preflight", "--no-repair", "--verbose"]);
    for lane in Lane::CPP {
        let installation = bench.path(lane.name());
        std::os::unix::fs::symlink(reference(lane), &installation).expect("linked");
        for command in [&mut setup, &mut preflight] {
            command.env(
                lane.directory_variable().expect("a variable"),
                &installation,
            );
        }
    }
    finish(setup)
        .exits(0)
        .says("bitnet.cpp at ")
        .says("llama.cpp at ");
    finish(preflight)
        .exits(0)
        .says("BITNET_CPP_DIR: ")
        .says("LLAMA_CPP_DIR: ");
    bench.run(&["preflight", "--no-repair"]).exits(2);
}
