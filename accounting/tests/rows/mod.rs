//! Texts with their ids by tiktoken.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses a part of it"
)]

use std::path::Path;

use bitnet_tokenizers::{Encode, Special, Tokenizer};

/// Text, and nothing around it.
pub const PLAIN: Encode = Encode {
    bos: false,
    special: Special::AsText,
};

/// A text, and its ids by encoding.
pub struct Row(serde_json::Value);

impl Row {
    pub fn text(&self) -> &str {
        self.0["text"].as_str().expect("a text")
    }

    fn ids(&self, encoding: &str) -> Vec<u32> {
        serde_json::from_value(self.0[encoding].clone()).expect("ids")
    }
}

/// The rows of a file.
pub fn rows(path: &Path) -> Vec<Row> {
    let lines = std::fs::read_to_string(path);
    let lines = lines.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    lines
        .lines()
        .map(|line| Row(serde_json::from_str(line).expect("JSON")))
        .collect()
}

/// The rows that every checkout has.
pub fn corpus() -> Vec<Row> {
    rows(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/tiktoken.jsonl"))
}

/// Holds a tokenizer against the ids under `name`.
pub fn check(tokenizer: &Tokenizer, name: &str, rows: &[Row]) {
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
