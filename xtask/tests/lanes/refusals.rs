//! Where nothing can or may be built: the exit code says why, the message what to do, and the cache
//! stays empty.

use bitnet_process::Interrupt;
use bitnet_provisioning::Lock;

use super::workbench::{Workbench, finish};

#[test]
fn without_repair_a_missing_lane_is_code_2_with_the_command_to_run() {
    let bench = Workbench::new();
    let run = bench.run(&["preflight", "--no-repair"]).exits(2);
    for reference in ["bitnet.cpp", "llama.cpp"] {
        assert!(
            run.err.contains(&format!("{reference} backend not found")),
            "{run:?}"
        );
    }
    let run = run.says("cargo xtask setup-cpp-auto --backend bitnet");
    run.says("cargo xtask setup-cpp-auto --backend llama");
    bench
        .run(&["preflight", "--repair=never", "--backend", "llama"])
        .exits(2);
    assert!(!bench.cache().exists(), "a check writes nothing");
}

#[test]
fn in_ci_nothing_is_built_unless_it_is_asked_for() {
    let bench = Workbench::new();
    let run = |more: &[&str], ci: &str| {
        let mut command = bench.command(&["preflight", "--backend", "llama"]);
        command.args(more).env("CI", ci).env("PATH", "");
        finish(command)
    };
    run(&[], "true").exits(2).says("repair disabled");
    // Asked for, or outside of CI, it is tried: without tools that is a failed build.
    run(&["--repair=auto"], "true").exits(5);
    run(&[], "").exits(5);
    run(&[], "false").exits(5);
}

#[test]
fn a_missing_tool_is_code_5_with_its_name_and_the_command_that_installs_it() {
    let bench = Workbench::new();
    for arguments in [
        &["setup-cpp-auto", "--backend", "llama"][..],
        &["preflight", "--repair", "always"],
    ] {
        let mut command = bench.command(arguments);
        command.env("PATH", "");
        finish(command)
            .exits(5)
            .says("`cmake` was not found on the PATH")
            .says("install cmake");
    }
    assert_eq!(bench.built(), [""; 0]);
}

#[test]
fn a_repair_within_a_repair_is_code_6() {
    let bench = Workbench::new();
    for arguments in [&["setup-cpp-auto"][..], &["preflight"], &["fetch-cpp"]] {
        let mut command = bench.command(arguments);
        command.env("BITNET_REPAIR_IN_PROGRESS", "1");
        finish(command)
            .exits(6)
            .says("a repair is already in progress");
    }
    assert!(!bench.cache().exists());
}

/// As root, every folder is writable but those of the kernel.
#[cfg(target_os = "linux")]
#[test]
fn a_cache_that_cannot_be_written_is_code_4() {
    let bench = Workbench::new();
    let cache = std::path::Path::new("/sys/bitnet");
    for arguments in [
        &["setup-cpp-auto", "--backend", "llama"][..],
        &["preflight"],
        &["fetch-cpp"],
    ] {
        finish(bench.command_on(cache, arguments))
            .exits(4)
            .says("BITNET_CPP_CACHE");
    }
}

/// A registry that nothing answers for: an empty cargo home behind a proxy on a port that is
/// closed.
#[cfg(unix)]
#[test]
fn a_registry_out_of_reach_is_code_3() {
    let bench = Workbench::new();
    // Never run: the source does not arrive.
    for tool in ["cmake", "clang", "clang++", "gcc", "g++", "tar", "git"] {
        bench.put_program(&format!("tools/{tool}"), "exit 99");
    }
    let mut command = bench.command(&["setup-cpp-auto", "--backend", "bitnet"]);
    command
        .env("PATH", super::workbench::path_with(&bench.path("tools")))
        .env("CARGO", env!("CARGO"))
        .env("CARGO_HOME", bench.path("cargo-home"))
        .env("CARGO_HTTP_PROXY", super::workbench::closed_port())
        .env("CARGO_NET_RETRY", "0");
    finish(command)
        .exits(3)
        .says("the network failed")
        .says("HTTPS_PROXY");
    assert_eq!(bench.built(), [""; 0]);
}

#[test]
fn what_is_no_lane_and_no_installation_is_code_2() {
    let bench = Workbench::new();
    bench
        .run(&["preflight", "--backend", "gpt"])
        .exits(2)
        .says("expected `bitnet`, `llama` or `transformers`");
    bench
        .run(&["preflight", "--no-repair", "--repair=auto"])
        .exits(2)
        .says("cannot be used with");
    let mut command = bench.command(&["preflight", "--backend", "llama"]);
    command.env("LLAMA_CPP_DIR", bench.path("nowhere"));
    finish(command)
        .exits(2)
        .says("LLAMA_CPP_DIR=")
        .says("cannot be read");
}

#[test]
fn one_build_waits_for_another() {
    let bench = Workbench::new();
    std::fs::create_dir_all(bench.cache()).expect("created");
    let lock = bench.cache().join("setup.lock");
    let held = Lock::acquire(&lock, &Interrupt::default(), |_| {}).expect("a lock");
    let mut command = bench.command(&["setup-cpp-auto", "--backend", "llama"]);
    command.env("PATH", "").stderr(std::process::Stdio::piped());
    let mut waiting = command.spawn().expect("spawned");
    let mut said = std::io::BufReader::new(waiting.stderr.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).expect("a line");
    let owner = format!("another build is running (process {})", std::process::id());
    assert!(line.contains(&owner), "{line}");
    drop(held);
    assert_eq!(
        waiting.wait().expect("a status").code(),
        Some(5),
        "its turn came"
    );
}
