//! The official clients, as they are.

use std::process::Command;

use bitnet_server::Keys;

use super::running::{Running, options};

/// Names a Python that has the packages `openai` and `anthropic`.
pub(crate) const PYTHON: &str = "BITNET_CLIENTS_PYTHON";

#[test]
#[ignore = "BITNET_CLIENTS_PYTHON names a Python with the packages openai and anthropic"]
fn the_official_python_clients_find_what_they_expect() {
    run("clients.py");
}

#[test]
#[ignore = "BITNET_CLIENTS_PYTHON names a Python with openai, anthropic and jsonschema"]
fn the_official_python_clients_get_answers_in_the_form_that_they_ask_for() {
    run("forms.py");
}

fn run(script: &str) {
    let python = std::env::var_os(PYTHON).expect(PYTHON);
    let server = Running::start(options().keys(Keys::parse("sk-right\n").unwrap()));
    let output = Command::new(python)
        .arg(format!("tests/official/{script}"))
        .args([&format!("http://{}", server.site.0), "sk-right"])
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
