//! `fetch-cpp` of a small CMake project in a repository that the test makes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::workbench::{Run, Workbench, finish};

const CMAKE_LISTS: &str = "cmake_minimum_required(VERSION 3.14)
project(reference C)
add_library(llama STATIC llama.c)
add_executable(llama-cli main.c)
target_link_libraries(llama-cli llama)
set_target_properties(llama-cli PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
";

/// A repository with a version tagged `v1`.
struct Repository {
    folder: PathBuf,
}

impl Repository {
    fn new(bench: &Workbench) -> Self {
        let repository = Self {
            folder: bench.path("reference"),
        };
        fs::create_dir(&repository.folder).expect("created");
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.put("CMakeLists.txt", CMAKE_LISTS);
        repository.put("llama.c", "int answer(void) { return 0; }\n");
        repository.version("one", 0);
        repository
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).expect("written");
    }

    /// Commits a program that prints `name` and exits with `status`, and moves the tag `v1` to it.
    fn version(&self, name: &str, status: u8) {
        self.put(
            "main.c",
            &format!(
                "#include <stdio.h>\nint answer(void);\n\
                 int main(void) {{ puts(\"version {name}\"); return answer() + {status}; }}\n"
            ),
        );
        self.commit();
    }

    fn commit(&self) {
        self.git(&["add", "."]);
        self.git(&[
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@invalid",
            "commit",
            "--quiet",
            "-m",
            "x",
        ]);
        self.git(&["tag", "--force", "v1"]);
    }

    fn git(&self, arguments: &[&str]) {
        let status = Command::new("git")
            .args(arguments)
            .current_dir(&self.folder)
            .output();
        let output = status.expect("git is installed; if not: apt-get install git");
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
    }
}

fn fetch(bench: &Workbench, repository: &Repository, more: &[&str]) -> Run {
    // An address, because git ignores --depth for a path.
    let address = format!("file://{}", repository.folder.display());
    let mut command = bench.command(&["fetch-cpp", "--tag", "v1", "--repo", &address]);
    command.args(more);
    finish(command)
}

#[test]
fn a_version_is_built_once_again_with_force_and_from_a_new_clone_with_clean() {
    let bench = Workbench::new();
    let repository = Repository::new(&bench);
    fetch(&bench, &repository, &[])
        .exits(0)
        .says("Built")
        .says("(version one)");
    let program = bench.cache().join("bitnet-llama-cli");
    assert!(program.is_file());
    let said = Command::new(&program).output().expect("it runs").stdout;
    assert_eq!(said, b"version one\n");

    repository.version("two", 0);
    fetch(&bench, &repository, &[])
        .exits(0)
        .says("Up to date")
        .says("(version one)");
    fetch(&bench, &repository, &["--force"])
        .exits(0)
        .says("Built")
        .says("(version one)");
    fetch(&bench, &repository, &["--clean"])
        .exits(0)
        .says("Built")
        .says("(version two)");
}

#[test]
fn a_failed_build_is_code_5_and_leaves_the_built_version_in_place() {
    let bench = Workbench::new();
    let repository = Repository::new(&bench);
    fetch(&bench, &repository, &[]).exits(0);
    let program = bench.cache().join("bitnet-llama-cli");
    let clone = fs::canonicalize(&program)
        .expect("a link")
        .ancestors()
        .nth(3)
        .expect("build/bin/llama-cli")
        .join("source");
    fs::write(clone.join("llama.c"), "int answer(void) { return }\n").expect("written");
    fetch(&bench, &repository, &["--force"])
        .exits(5)
        .says("compile failed")
        .says("llama.c")
        .says("fetch-cpp.log");
    assert!(Command::new(&program).status().expect("it runs").success());
}

#[test]
fn a_result_that_is_not_there_or_does_not_run_is_code_1() {
    let bench = Workbench::new();
    let repository = Repository::new(&bench);
    repository.version("three", 7);
    fetch(&bench, &repository, &[])
        .exits(1)
        .says("--version ended with")
        .says("version three");
    let without_program = CMAKE_LISTS.replace("add_executable(llama-cli", "add_executable(other");
    repository.put(
        "CMakeLists.txt",
        &without_program.replace("llama-cli", "other"),
    );
    repository.commit();
    fetch(&bench, &repository, &["--clean"])
        .exits(1)
        .says("no program called llama-cli");
}

#[test]
fn a_repository_out_of_reach_is_code_3_and_an_unknown_tag_is_not() {
    let bench = Workbench::new();
    let repository = Repository::new(&bench);
    let closed = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}/x.git", socket.local_addr().expect("an address"))
    };
    let mut command = bench.command(&["fetch-cpp", "--repo", &closed]);
    for name in ["http_proxy", "all_proxy"] {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    finish(command).exits(3).says("the network failed");
    let address = format!("file://{}", repository.folder.display());
    bench
        .run(&["fetch-cpp", "--tag", "v9", "--repo", &address])
        .exits(2)
        .says("no branch or tag `v9`");
    let left: Vec<_> = bench
        .cache()
        .join("fetched")
        .read_dir()
        .expect("a folder")
        .flatten()
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
