//! Ids against those of tiktoken and llama.cpp, over collections that an environment variable
//! names.

use std::path::{Path, PathBuf};

use bitnet_tokenizers::{Encode, Error, Special, Tokenizer};

/// The folder that `variable` names. Without it the test prints that it did not run.
fn folder(variable: &str) -> Option<PathBuf> {
    let folder = std::env::var_os(variable).map(PathBuf::from);
    if folder.is_none() {
        println!("NOT RUN: set {variable} to the folder with the test data");
    }
    folder
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const PLAIN: Encode = Encode {
    bos: false,
    special: Special::AsText,
};

#[test]
fn llama3_ids_are_those_of_tiktoken() {
    let (Some(texts), Some(model)) = (folder("BITNET_TEST_TOKENS"), folder("BITNET_TEST_LLAMA3"))
    else {
        return;
    };
    let tokenizer = Tokenizer::from_file(&model.join("tokenizer.model")).unwrap();
    assert_eq!(tokenizer.vocab_size(), 128_256);
    assert_eq!(tokenizer.bos(), Some(128_000));
    assert_eq!(tokenizer.eog_ids(), [128_001, 128_009]);
    let mut count = 0;
    for line in read(&texts.join("tiktoken.jsonl")).lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = line["text"].as_str().unwrap();
        let wanted: Vec<u32> = serde_json::from_value(line["llama3"].clone()).unwrap();
        let ids = tokenizer.encode(text, PLAIN).unwrap();
        assert_eq!(ids, wanted, "{text:?}");
        assert_eq!(tokenizer.decode(&ids), text);
        count += 1;
    }
    assert!(count >= 448);
}

#[test]
fn gguf_vocabularies_give_the_ids_of_llama_cpp() {
    let Some(folder) = folder("BITNET_TEST_VOCAB") else {
        return;
    };
    let llama3 = std::env::var_os("BITNET_TEST_LLAMA3")
        .map(|folder| PathBuf::from(folder).join("tokenizer.model"));
    let mut tried = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(name) = name.strip_suffix(".inp") else {
            continue;
        };
        let tokenizer = match (folder.join(name), &llama3) {
            (file, _) if file.exists() => {
                Tokenizer::from_file(&file).unwrap_or_else(|error| panic!("{name}: {error}"))
            }
            (_, Some(model)) if name.contains("llama-bpe") => Tokenizer::from_file(model).unwrap(),
            _ => continue,
        };
        let input = read(&path);
        let texts: Vec<&str> = input.split("\n__ggml_vocab_test__\n").collect();
        let output = read(&folder.join(format!("{name}.out")));
        let wanted: Vec<Vec<u32>> = output
            .lines()
            .map(|line| {
                line.split_whitespace()
                    .map(|id| id.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(
            texts.len() >= wanted.len(),
            "{name}: {} texts, {} lines",
            texts.len(),
            wanted.len()
        );
        for (text, wanted) in texts.iter().zip(wanted) {
            assert_eq!(
                tokenizer.encode(text, PLAIN).unwrap(),
                wanted,
                "{name}: {text:?}"
            );
        }
        tried.push(name.to_owned());
    }
    println!("agree with llama.cpp: {tried:?}");
    assert!(tried.len() >= 6, "{tried:?}");
}

#[test]
fn a_file_that_is_no_tokenizer_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "just text").unwrap();
    let error = Tokenizer::from_file(&path).unwrap_err();
    assert!(
        matches!(error, Error::Format { .. }) && error.to_string().contains("notes.txt"),
        "{error}"
    );
    assert!(matches!(
        Tokenizer::from_file(&folder.path().join("none")),
        Err(Error::Read { .. })
    ));
}
