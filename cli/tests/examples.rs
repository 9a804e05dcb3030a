//! What is written in Python or YAML around the program, by tests of its own: jobs of
//! `examples/ray` on a cluster of two nodes on this machine, and the manifests of
//! `deploy/kubernetes`.

use std::path::Path;
use std::process::Command;

use bitnet_fixtures::DataTest;

/// Names the Python of an environment that has `examples/ray/requirements.txt`.
const RAY: &str = "BITNET_TEST_RAY_PYTHON";
/// Names the Python of an environment that has `deploy/kubernetes/tests/requirements.txt`.
const KUBERNETES: &str = "BITNET_TEST_KUBERNETES_PYTHON";

/// Runs the tests in a folder with the Python that a variable names.
fn run(variable: &str, folder: &str) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder);
    let status = Command::new(DataTest::data(variable))
        .args(["-m", "unittest", "discover", "--verbose"])
        .arg(tests)
        .env("BITNET", env!("CARGO_BIN_EXE_bitnet"))
        .status();
    assert!(status.expect("a Python").success());
}

fn jobs_on_two_nodes_give_what_one_server_gives_though_one_is_killed() {
    run(RAY, "examples/ray/tests");
}

fn manifests_are_what_schemas_and_the_program_take() {
    run(KUBERNETES, "deploy/kubernetes/tests");
}

fn main() {
    bitnet_fixtures::data_tests! {
        jobs_on_two_nodes_give_what_one_server_gives_though_one_is_killed: RAY;
        manifests_are_what_schemas_and_the_program_take: KUBERNETES;
    }
}
