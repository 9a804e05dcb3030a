//! The built-in encodings and LLaMA-3's against tiktoken, over collections that environment
//! variables name.

mod rows;

use std::path::PathBuf;

use bitnet_accounting::Encoding;
use bitnet_tokenizers::Tokenizer;
use libtest_mimic::{Arguments, Trial};
use rows::{check, corpus};

/// Names the folder with tiktoken.jsonl.
const TOKENS: &str = "BITNET_TEST_TOKENS";
/// Names the folder with LLaMA-3's tokenizer.model.
const LLAMA3: &str = "BITNET_TEST_LLAMA3";

fn collection() -> Vec<rows::Row> {
    let folder = std::env::var_os(TOKENS).map_or_else(PathBuf::new, PathBuf::from);
    let rows = rows::rows(&folder.join("tiktoken.jsonl"));
    assert!(rows.len() >= 448);
    rows
}

fn ids_of_the_collection_are_those_of_tiktoken() {
    for encoding in [Encoding::Cl100kBase, Encoding::O200kBase] {
        check(encoding.tokenizer(), encoding.name(), &collection());
    }
}

fn ids_of_llama3_are_those_of_tiktoken() {
    let folder = std::env::var_os(LLAMA3).map_or_else(PathBuf::new, PathBuf::from);
    let llama3 = Tokenizer::from_file(&folder.join("tokenizer.model")).expect("LLaMA-3");
    check(&llama3, "llama3", &collection());
    check(&llama3, "llama3", &corpus());
}

/// A test that is counted as ignored where one of `variables` is not set, which the harness of the
/// compiler cannot do.
fn trial(name: &str, variables: &[&str], test: fn()) -> Trial {
    let missing = |variable: &&&str| std::env::var_os(variable).is_none();
    let missing = variables.iter().find(missing);
    if let Some(variable) = missing {
        eprintln!("NOT RUN: {name}; {variable} names no test data");
    }
    let run = move || {
        test();
        Ok(())
    };
    Trial::test(name, run).with_ignored_flag(missing.is_some())
}

fn main() {
    let trials = vec![
        trial(
            "ids_of_the_collection_are_those_of_tiktoken",
            &[TOKENS],
            ids_of_the_collection_are_those_of_tiktoken,
        ),
        trial(
            "ids_of_llama3_are_those_of_tiktoken",
            &[TOKENS, LLAMA3],
            ids_of_llama3_are_those_of_tiktoken,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
