//! `tokenizer.json` files as people have them: with what training left in them, and damaged.

use bitnet_fixtures::Noise;
use bitnet_tokenizers::{Encode, Error, Special, Tokenizer, Warning};
use serde_json::{Value, json};

const PLAIN: Encode = Encode {
    bos: false,
    special: Special::AsText,
};
const PARSED: Encode = Encode {
    bos: false,
    special: Special::Parse,
};

fn demo() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/tokenizer.json");
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_slice(&text).expect("JSON")
}

fn read(file: &Value) -> Result<Tokenizer, Error> {
    Tokenizer::from_tokenizer_json(&serde_json::to_vec(file).expect("bytes"))
}

#[test]
fn truncation_and_padding_are_off() {
    let text = "To be or not to be. ".repeat(20);
    let whole = read(&demo()).unwrap().encode(&text, PLAIN).unwrap();
    assert!(whole.len() > 100);
    let mut file = demo();
    file["truncation"] = json!({
        "direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0,
    });
    file["padding"] = json!({
        "strategy": {"Fixed": 4096}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<|endoftext|>",
    });
    let tokenizer = read(&file).unwrap();
    for options in [PLAIN, PARSED] {
        assert_eq!(tokenizer.encode(&text, options).unwrap(), whole);
        let count = tokenizer.counter().count(&text, options).unwrap();
        assert_eq!(count, whole.len());
    }
}

#[test]
fn ids_without_tokens_are_refused_before_they_take_memory() {
    for id in [200_000_000_u64, 4_294_967_295, u64::MAX] {
        let mut vocabulary = demo();
        vocabulary["model"]["vocab"]["!"] = json!(id);
        let mut added = demo();
        added["added_tokens"][0]["id"] = json!(id);
        for file in [vocabulary, added] {
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(&id.to_string()), "{error}");
        }
    }
    // Some gaps are in files that people have.
    let mut file = demo();
    file["model"]["vocab"]["!"] = json!(50_000);
    assert_eq!(read(&file).unwrap().vocab_size(), 50_001);
}

#[test]
fn an_end_of_turn_that_is_not_marked_special_is_one() {
    let mut file = demo();
    let end = json!({
        "id": 5000, "content": "<|im_end|>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": false,
    });
    file["added_tokens"].as_array_mut().unwrap().push(end);
    let tokenizer = read(&file).unwrap();
    let id = (0..tokenizer.vocab_size() as u32)
        .find(|id| tokenizer.token_text(*id) == Some("<|im_end|>"))
        .expect("the token");
    let ids = tokenizer.encode("a<|im_end|>", PLAIN).unwrap();
    assert!(!ids.contains(&id), "{ids:?}");
    assert_eq!(tokenizer.decode(&ids), "a<|im_end|>");
    let parsed = tokenizer.encode("a<|im_end|>", PARSED).unwrap();
    assert_eq!(parsed.last(), Some(&id));
    assert_eq!(tokenizer.token_bytes(id), b"");
    assert!(tokenizer.eog_ids().contains(&id));
    assert!(
        matches!(tokenizer.warnings(), [Warning::ControlByName { text, .. }] if text == "<|im_end|>"),
        "{:?}",
        tokenizer.warnings()
    );
}

/// Small files of every kind of model.
fn kinds() -> Vec<Value> {
    let shell = |model: Value, normalizer: Value, words: Value, decoder: Value| {
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [{
                "id": 3, "content": "<s>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            }],
            "normalizer": normalizer, "pre_tokenizer": words, "decoder": decoder,
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "<s>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [3], "tokens": ["<s>"]}},
            },
            "model": model,
        })
    };
    let vocab = json!({"[UNK]": 0, "a": 1, "b": 2, "<s>": 3, "##b": 4, "ab": 5, "▁a": 6});
    vec![
        demo(),
        shell(
            json!({
                "type": "Unigram", "unk_id": 0, "byte_fallback": false,
                "vocab": [["<unk>", 0.0], ["a", -1.0], ["b", -2.0], ["<s>", -3.0], ["▁a", -4.0]],
            }),
            json!({"type": "Sequence", "normalizers": [
                {"type": "NFKC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ]}),
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}),
        ),
        shell(
            json!({
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab,
            }),
            json!({
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true,
            }),
            json!({"type": "BertPreTokenizer"}),
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
        ),
        shell(
            json!({"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}),
            Value::Null,
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Removed", "invert": false},
                {"type": "Digits", "individual_digits": true},
                {"type": "Punctuation", "behavior": "Isolated"},
            ]}),
            json!({"type": "Fuse"}),
        ),
        shell(
            json!({
                "type": "BPE", "dropout": null, "unk_token": "[UNK]", "fuse_unk": true,
                "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "byte_fallback": true, "ignore_merges": false, "vocab": vocab, "merges": ["a b"],
            }),
            json!({"type": "Prepend", "prepend": "▁"}),
            json!({"type": "Whitespace"}),
            json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}),
        ),
    ]
}

/// Changes at mutation.
struct Mutation(Noise);

impl Mutation {
    fn below(&mut self, bound: usize) -> usize {
        self.0.below(bound as u32) as usize
    }

    /// Changes a value somewhere inside `node`.
    fn mutate(&mut self, node: &mut Value) {
        let go_in = self.below(4) > 0;
        match node {
            Value::Object(map) if go_in && !map.is_empty() => {
                let key = map.keys().nth(self.below(map.len())).cloned();
                let key = key.expect("a key");
                match self.below(12) {
                    0 => drop(map.remove(&key)),
                    1 => drop(map.insert(format!("{key}x"), Value::from(1))),
                    _ => self.mutate(&mut map[&key]),
                }
            }
            Value::Array(list) if go_in && !list.is_empty() => {
                let at = self.below(list.len());
                match self.below(12) {
                    0 => drop(list.remove(at)),
                    1 => list.push(list[at].clone()),
                    _ => self.mutate(&mut list[at]),
                }
            }
            _ => *node = self.value(),
        }
    }

    fn value(&mut self) -> Value {
        let values = [
            Value::Null,
            json!(true),
            json!(0),
            json!(1),
            json!(-1),
            json!(7),
            json!(50_000),
            json!(200_000_000),
            json!(4_294_967_295_u32),
            json!(u64::MAX),
            json!(1e30),
            json!(""),
            json!("a"),
            json!("[UNK]"),
            json!("▁"),
            json!("<s>"),
            json!("("),
            json!("a b c"),
            json!([]),
            json!(["a", "b"]),
            json!({}),
            json!({"type": "ByteLevel"}),
        ];
        values[self.below(values.len())].clone()
    }
}

const PARTS: [&str; 5] = [
    "model",
    "pre_tokenizer",
    "normalizer",
    "added_tokens",
    "decoder",
];

const TEXTS: [&str; 5] = ["", "ab ab  a", "é 日本 🎉 12", "<s>a</s>", " \n\t"];

/// Reads what may be damaged, and uses it if it can be read. Whatever it is, it ends here.
fn try_out(content: &[u8]) -> bool {
    let Ok(tokenizer) = Tokenizer::from_tokenizer_json(content) else {
        return false;
    };
    assert!(tokenizer.vocab_size() < 1_000_000);
    for text in TEXTS {
        for options in [PLAIN, PARSED] {
            if let Ok(ids) = tokenizer.encode(text, options) {
                let _ = tokenizer.decode(&ids);
            }
        }
    }
    true
}

#[test]
fn a_damaged_file_is_an_error_and_nothing_worse() {
    for (seed, kind) in (1..).zip(kinds()) {
        assert!(
            try_out(&serde_json::to_vec(&kind).expect("bytes")),
            "{kind}"
        );
        let mut mutation = Mutation(Noise::new(seed));
        let mut read = 0;
        for _ in 0..400 {
            let mut file = kind.clone();
            for _ in 0..=mutation.below(2) {
                // Most nodes are tokens; what matters as much are the other parts.
                let part = PARTS[mutation.below(PARTS.len())];
                match file.get_mut(part) {
                    Some(part) if mutation.below(3) > 0 => mutation.mutate(part),
                    _ => mutation.mutate(&mut file),
                }
            }
            read += usize::from(try_out(&serde_json::to_vec(&file).expect("bytes")));
        }
        assert!((20..380).contains(&read), "{read} of 400 were read");
    }
}

#[test]
fn a_file_with_changed_bytes_is_an_error_and_nothing_worse() {
    let mut mutation = Mutation(Noise::new(99));
    for kind in kinds() {
        let content = serde_json::to_vec(&kind).expect("bytes");
        for _ in 0..60 {
            let mut content = content.clone();
            for _ in 0..=mutation.below(3) {
                let at = mutation.below(content.len());
                match mutation.below(4) {
                    0 => content.truncate(at + 1),
                    1 => drop(content.remove(at)),
                    2 => content[at] ^= 1 << mutation.below(8),
                    _ => content[at] = b"0123456789\"{}[],:-"[mutation.below(18)],
                }
            }
            try_out(&content);
        }
    }
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
