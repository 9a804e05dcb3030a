//! The built-in encodings against tiktoken, and counting against encoding.

use std::path::{Path, PathBuf};

use bitnet_accounting::Encoding;
use bitnet_tokenizers::{Encode, Special, Tokenizer};

const PLAIN: Encode = Encode {
    bos: false,
    special: Special::AsText,
};

/// A text, and its ids by encoding.
struct Row(serde_json::Value);

impl Row {
    fn text(&self) -> &str {
        self.0["text"].as_str().expect("a text")
    }

    fn ids(&self, encoding: &str) -> Vec<u32> {
        serde_json::from_value(self.0[encoding].clone()).expect("ids")
    }
}

fn rows(path: &Path) -> Vec<Row> {
    let lines = std::fs::read_to_string(path);
    let lines = lines.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    lines
        .lines()
        .map(|line| Row(serde_json::from_str(line).expect("JSON")))
        .collect()
}

fn corpus() -> Vec<Row> {
    rows(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/tiktoken.jsonl"))
}

fn check(tokenizer: &Tokenizer, name: &str, rows: &[Row]) {
    let mut counter = tokenizer.counter();
    for row in rows {
        let (text, wanted) = (row.text(), row.ids(name));
        let ids = tokenizer.encode(text, PLAIN).expect("every text has ids");
        assert_eq!(ids, wanted, "{name}: {text:?}");
        assert_eq!(tokenizer.decode(&ids), text, "{name}");
        // The second time from the cache.
        for _ in 0..2 {
            let count = counter.count(text, PLAIN).expect("every text has a count");
            assert_eq!(count, wanted.len(), "{name}: {text:?}");
        }
    }
}

#[test]
fn ids_are_those_of_tiktoken() {
    let rows = corpus();
    assert_eq!(rows.len(), 150);
    for encoding in [Encoding::Cl100kBase, Encoding::O200kBase] {
        check(encoding.tokenizer(), encoding.name(), &rows);
    }
    // Other special tokens change nothing about a text.
    let harmony = Encoding::O200kHarmony.tokenizer();
    check(harmony, Encoding::O200kBase.name(), &rows);
}

#[test]
fn ids_of_the_first_encodings_are_those_of_tiktoken_rs() {
    let rows = corpus();
    for (encoding, tiktoken) in [
        (Encoding::P50kBase, tiktoken_rs::p50k_base_singleton()),
        (Encoding::R50kBase, tiktoken_rs::r50k_base_singleton()),
    ] {
        let tokenizer = encoding.tokenizer();
        let mut counter = tokenizer.counter();
        let code = "fn main() {\n        let x = 1;\n\n}\t  ".to_owned();
        let texts = rows.iter().map(|row| row.text().to_owned());
        for text in texts.chain([code, String::new()]) {
            let wanted = tiktoken.encode_ordinary(&text);
            let ids = tokenizer.encode(&text, PLAIN).expect("every text has ids");
            assert_eq!(ids, wanted, "{encoding}: {text:?}");
            assert_eq!(tokenizer.decode(&ids), text, "{encoding}");
            let count = counter.count(&text, PLAIN).expect("every text has a count");
            assert_eq!(count, wanted.len(), "{encoding}: {text:?}");
        }
    }
}

#[test]
fn ids_of_the_collection_are_those_of_tiktoken() {
    let Some(folder) = std::env::var_os("BITNET_TEST_TOKENS").map(PathBuf::from) else {
        println!("NOT RUN: set BITNET_TEST_TOKENS to the folder with tiktoken.jsonl");
        return;
    };
    let rows = rows(&folder.join("tiktoken.jsonl"));
    assert!(rows.len() >= 448);
    for encoding in [Encoding::Cl100kBase, Encoding::O200kBase] {
        check(encoding.tokenizer(), encoding.name(), &rows);
    }
    match std::env::var_os("BITNET_TEST_LLAMA3").map(PathBuf::from) {
        None => println!("NOT RUN: set BITNET_TEST_LLAMA3 to the folder with tokenizer.model"),
        Some(folder) => {
            let llama3 = Tokenizer::from_file(&folder.join("tokenizer.model")).expect("LLaMA-3");
            check(&llama3, "llama3", &rows);
            check(&llama3, "llama3", &corpus());
        }
    }
}

#[test]
fn special_tokens_are_text_unless_asked_for() {
    let tokenizer = Encoding::O200kBase.tokenizer();
    let parse = Encode {
        special: Special::Parse,
        ..PLAIN
    };
    let text = "a<|endoftext|>b";
    let mut counter = tokenizer.counter();
    assert_eq!(
        tokenizer.encode(text, parse).expect("ids"),
        [64, 199_999, 65]
    );
    assert_eq!(counter.count(text, parse).expect("a count"), 3);
    let as_text = tokenizer.encode(text, PLAIN).expect("ids");
    assert!(as_text.iter().all(|id| *id < 199_998) && as_text.len() > 3);
    assert_eq!(counter.count(text, PLAIN).expect("a count"), as_text.len());
    assert_eq!(tokenizer.token_text(199_999), Some("<|endoftext|>"));
    assert_eq!(tokenizer.decode(&as_text), text);
    assert_eq!(tokenizer.token_bytes(200_017), b"");
    assert_eq!(tokenizer.token_bytes(u32::MAX), b"");
}

#[test]
fn a_word_of_a_million_bytes_is_counted_as_it_is_encoded() {
    for encoding in Encoding::ALL {
        let tokenizer = encoding.tokenizer();
        let mut counter = tokenizer.counter();
        for unit in ["a", " ", "😀", "\n", "ab", "é"] {
            let text = unit.repeat(1_000_000 / unit.len());
            let ids = tokenizer.encode(&text, PLAIN).expect("ids");
            assert_eq!(tokenizer.decode(&ids), text);
            assert_eq!(counter.count(&text, PLAIN).expect("a count"), ids.len());
        }
    }
}
