//! `bitnet template`, and what it sends for the files that people have.

use std::fs;
use std::path::Path;
use std::process::Output;

use tempfile::TempDir;

use crate::{bitnet, golden, output, stderr, stdout};

const QUESTION: &str = r#"[{"role": "user", "content": "How are you?"}]"#;

fn template(folder: &Path, messages: &str, arguments: &[&str]) -> Output {
    fs::write(folder.join("messages.json"), messages).unwrap();
    let mut command = bitnet(folder);
    command
        .args(["template", "--messages", "messages.json"])
        .args(arguments);
    output(&mut command)
}

#[test]
fn a_template_file_renders_without_a_model() {
    let folder = TempDir::new().unwrap();
    let source = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\
                  {{ eos_token }}{% endfor %}{{ mood }}{% if add_generation_prompt %}>{% endif %}\n\n";
    fs::write(folder.path().join("t.jinja"), source).unwrap();
    let given = [
        "--template-file",
        "t.jinja",
        "--bos-token",
        "<s>",
        "--eos-token",
        "</s>",
    ];
    let ran = template(folder.path(), QUESTION, &given);
    assert_eq!(
        stdout(&ran),
        "<s>user: How are you?</s>>",
        "{}",
        stderr(&ran)
    );
    let given = [
        &given[..],
        &["--no-generation-prompt", "--variable", "mood=[1.0, true]"],
    ]
    .concat();
    let ran = template(folder.path(), QUESTION, &given);
    assert_eq!(stdout(&ran), "<s>user: How are you?</s>[1.0, True]");
    let given = [&given[..], &["--variable", "bos_token=\"\""]].concat();
    let ran = template(folder.path(), QUESTION, &given);
    assert_eq!(stdout(&ran), "user: How are you?</s>[1.0, True]");
}

#[test]
fn a_special_token_that_is_named_is_the_token_and_not_its_letters() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("t.jinja"), "Owl{{ eos_token }}").unwrap();
    let model = crate::root().join("demo/demo.gguf");
    let given = ["--model", model.to_str().unwrap(), "--template-file"];
    let given = [&given[..], &["t.jinja", "--ids", "--eos-token"]].concat();
    let last = |token: &str| {
        let ran = template(folder.path(), QUESTION, &[&given[..], &[token]].concat());
        let ids = stdout(&ran);
        ids.split_whitespace().next_back().map(str::to_owned)
    };
    assert_eq!(last("<|endoftext|>").as_deref(), Some("0"));
    assert_ne!(last("<|endofowls|>").as_deref(), Some("0"));
}

#[test]
fn a_family_is_a_template_by_its_name() {
    let folder = TempDir::new().unwrap();
    let ran = template(
        folder.path(),
        QUESTION,
        &["--template-file", "bitnet-2b-4t"],
    );
    assert_eq!(stdout(&ran), "User: How are you?<|eot_id|>Assistant: ");
}

#[test]
fn what_a_template_raises_is_the_error_and_nothing_is_written() {
    let folder = TempDir::new().unwrap();
    let source = "already{{ raise_exception('Only owls, not ' ~ messages[0].role ~ '!') }}";
    fs::write(folder.path().join("t.jinja"), source).unwrap();
    let ran = template(folder.path(), QUESTION, &["--template-file", "t.jinja"]);
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(stdout(&ran), "");
    assert!(
        stderr(&ran).contains("Only owls, not user!"),
        "{}",
        stderr(&ran)
    );
    fs::write(folder.path().join("t.jinja"), "{% for %}").unwrap();
    let ran = template(folder.path(), QUESTION, &["--template-file", "t.jinja"]);
    assert_eq!((ran.status.code(), stdout(&ran).as_str()), (Some(1), ""));
    assert!(stderr(&ran).contains("line 1"), "{}", stderr(&ran));
}

#[test]
fn a_base_model_has_no_template_and_is_told_how_to_get_one() {
    let folder = TempDir::new().unwrap();
    let model = folder.path().join("model.gguf");
    fs::copy(golden("bitnet-tq1_0.gguf"), &model).unwrap();
    let tokenizer = crate::root().join("demo/demo.gguf");
    let tokenizer = tokenizer.to_str().unwrap();
    let arguments = ["--model", "model.gguf", "--tokenizer", tokenizer];
    let ran = template(folder.path(), QUESTION, &arguments);
    assert_eq!((ran.status.code(), stdout(&ran).as_str()), (Some(1), ""));
    assert!(
        stderr(&ran).contains("no chat template"),
        "{}",
        stderr(&ran)
    );

    fs::write(
        folder.path().join("chat_template.jinja"),
        "{{ messages[0].content }}",
    )
    .unwrap();
    let ran = template(folder.path(), QUESTION, &arguments);
    assert_eq!(stdout(&ran), "How are you?", "{}", stderr(&ran));
    assert!(
        stderr(&ran).contains("chat_template.jinja beside the model"),
        "{}",
        stderr(&ran)
    );
}
