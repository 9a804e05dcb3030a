//! The jobs of `examples/ray` on a cluster of two nodes on this machine, whose tests are in Python.

use std::path::Path;
use std::process::Command;

use bitnet_fixtures::DataTest;

/// Names the Python of an environment that has `examples/ray/requirements.txt`.
const PYTHON: &str = "BITNET_TEST_RAY_PYTHON";

fn jobs_on_two_nodes_give_what_one_server_gives_though_one_is_killed() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ray/tests");
    let status = Command::new(DataTest::data(PYTHON))
        .args(["-m", "unittest", "discover", "--verbose"])
        .arg(tests)
        .env("BITNET", env!("CARGO_BIN_EXE_bitnet"))
        .status();
    assert!(status.expect("a Python").success());
}

fn main() {
    bitnet_fixtures::data_tests! {
        jobs_on_two_nodes_give_what_one_server_gives_though_one_is_killed: PYTHON;
    }
}
