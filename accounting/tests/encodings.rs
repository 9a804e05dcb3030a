//! The built-in encodings against tiktoken, and counting against encoding.

mod rows;

use bitnet_accounting::Encoding;
use bitnet_tokenizers::{Encode, Special};
use rows::{PLAIN, check, corpus};

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
