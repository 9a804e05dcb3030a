//! Tokenizers in GGUF files as converters write them: keys that are missing or wrong.

use bitnet_gguf::{Array, Gguf, Value, Writer};
use bitnet_tokenizers::{Encode, LLAMA3_TOKENS, Special, Tokenizer, Warning};

const PLAIN: Encode = Encode {
    bos: false,
    special: Special::AsText,
};
const PARSED: Encode = Encode {
    bos: false,
    special: Special::Parse,
};
const WITH_BOS: Encode = Encode {
    bos: true,
    special: Special::AsText,
};

/// The 256 bytes as GPT-2 writes them.
fn bytes() -> Vec<String> {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut other = 0x100_u32..;
    let name = |byte: u8| match printable(&byte) {
        true => char::from(byte),
        false => other.next().and_then(char::from_u32).expect("a character"),
    };
    (0..=255).map(name).map(String::from).collect()
}

/// Keys of a file; the last value of a key holds.
struct Keys(Vec<(&'static str, Value)>);

impl Keys {
    /// A byte-level vocabulary with these tokens behind the 256 bytes, all of one type.
    fn byte_level(architecture: &'static str, behind: &[&str], kind: i32) -> Keys {
        let mut tokens = bytes();
        tokens.extend(behind.iter().map(|text| (*text).to_owned()));
        Keys::tokens(architecture, &tokens, 256, kind)
    }

    /// Tokens, of which those from `from` on are of this type.
    fn tokens(architecture: &'static str, tokens: &[String], from: usize, kind: i32) -> Keys {
        let kinds = (0..tokens.len()).map(|id| if id < from { 1 } else { kind });
        Keys(vec![
            ("general.architecture", Value::from(architecture)),
            ("tokenizer.ggml.model", Value::from("gpt2")),
            (
                "tokenizer.ggml.tokens",
                Value::from(Array::from_strings(tokens.iter().map(String::as_str))),
            ),
            (
                "tokenizer.ggml.token_type",
                Value::from(Array::from(&kinds.collect::<Vec<i32>>()[..])),
            ),
            (
                "tokenizer.ggml.merges",
                Value::from(Array::from_strings(["h e"])),
            ),
        ])
    }

    fn with(mut self, key: &'static str, value: impl Into<Value>) -> Keys {
        self.0.push((key, value.into()));
        self
    }

    fn read(self) -> Tokenizer {
        let mut writer = Writer::new();
        for (key, value) in self.0 {
            writer.set(key, value);
        }
        let body = writer.begin(Vec::new()).expect("begun");
        let file = Gguf::from_bytes(body.finish().expect("finished")).expect("a sound file");
        Tokenizer::from_gguf(&file).expect("a tokenizer")
    }
}

const HEADERS: [&str; 5] = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
];

#[test]
fn control_tokens_are_control_whatever_their_type() {
    for kind in [1, 2, 3, 4, 5, 6] {
        let tokenizer = Keys::byte_level("llama", &HEADERS, kind)
            .with("tokenizer.ggml.pre", "llama-bpe")
            .read();
        let text = "Hi<|eot_id|><|start_header_id|>";
        let ids = tokenizer.encode(text, PLAIN).unwrap();
        assert!(ids.iter().all(|id| *id < 256), "{kind}: {ids:?}");
        assert_eq!(tokenizer.decode(&ids), text);
        let ids = tokenizer.encode("a<|eot_id|>", PARSED).unwrap();
        assert_eq!(ids.last(), Some(&260));
        assert_eq!(tokenizer.token_bytes(260), b"", "{kind}");
        assert_eq!(tokenizer.eog_ids(), [257, 260]);
        let warned = tokenizer.warnings().len();
        assert_eq!(warned, if kind == 3 { 0 } else { HEADERS.len() });
    }
}

#[test]
fn a_rule_that_is_not_named_is_warned_about() {
    let tokenizer = Keys::byte_level("llama", &[], 3).read();
    assert_eq!(tokenizer.warnings(), [Warning::MissingPreTokenizer]);
    assert!(!tokenizer.add_bos());
    let named = Keys::byte_level("llama", &[], 3).with("tokenizer.ggml.pre", "default");
    assert_eq!(named.read().warnings(), []);
}

#[test]
fn bytes_without_a_token_are_warned_about() {
    let mut tokens = bytes();
    // No text has the byte 0xc0.
    tokens.retain(|token| !matches!(&token[..], "A" | "z" | "À"));
    let keys = Keys::tokens("llama", &tokens, 0, 1).with("tokenizer.ggml.pre", "default");
    let tokenizer = keys.read();
    assert_eq!(
        tokenizer.warnings(),
        [Warning::MissingBytes {
            first: b'A',
            others: 1
        }]
    );
    assert!(tokenizer.warnings()[0].is_of_counts());
}

#[test]
fn tokens_that_are_spelled_alike_are_warned_about() {
    let mut tokens = bytes();
    tokens.extend(["he", "A", "he"].map(str::to_owned));
    let keys = Keys::tokens("llama", &tokens, 0, 1).with("tokenizer.ggml.pre", "default");
    let warnings = keys.read().warnings().to_vec();
    let twins = warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(warnings.len(), 1, "{twins:?}");
    assert!(
        twins[0].starts_with("tokens 65 and 257 are both `A`, and 1 more "),
        "{twins:?}"
    );
}

#[test]
fn llama3s_vocabulary_has_llama3s_rule_in_any_architecture() {
    let mut tokens = bytes();
    tokens.extend((256..LLAMA3_TOKENS).map(|id| format!("token {id}")));
    tokens[128_000] = HEADERS[0].to_owned();
    tokens[128_001] = HEADERS[1].to_owned();
    tokens[128_009] = HEADERS[4].to_owned();
    for architecture in ["llama", "bitnet", "bitnet-b1.58"] {
        let keys = Keys::tokens(architecture, &tokens, 128_000, 3);
        let tokenizer = keys.read();
        assert!(tokenizer.kind().contains("llama-bpe"), "{tokenizer:?}");
        assert!(tokenizer.add_bos());
        assert_eq!(tokenizer.bos(), Some(128_000));
        assert_eq!(tokenizer.eog_ids(), [128_001, 128_009]);
        assert_eq!(tokenizer.warnings(), []);
        assert_eq!(tokenizer.encode("", WITH_BOS).unwrap(), [128_000]);
    }
}

#[test]
fn an_id_that_is_not_there_is_warned_about_and_passed_over() {
    for (value, id) in [
        (Value::from(u32::MAX), i64::from(u32::MAX)),
        (Value::from(-1_i32), -1),
        (Value::from(257_u32), 257),
    ] {
        let tokenizer = Keys::byte_level("llama", &["<|eot_id|>"], 3)
            .with("tokenizer.ggml.pre", "llama-bpe")
            .with("tokenizer.ggml.add_bos_token", true)
            .with("tokenizer.ggml.bos_token_id", value)
            .read();
        assert_eq!(tokenizer.bos(), None);
        assert!(!tokenizer.add_bos());
        let key = "tokenizer.ggml.bos_token_id".to_owned();
        let tokens = 257;
        assert_eq!(
            tokenizer.warnings(),
            [Warning::IdOutOfRange { key, id, tokens }]
        );
    }
}

#[test]
fn a_template_of_another_vocabulary_is_warned_about() {
    let tokenizer = Keys::byte_level("llama", &HEADERS, 3)
        .with("tokenizer.ggml.pre", "llama-bpe")
        .read();
    let own = "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>' }}{% if a <| b %}";
    assert_eq!(tokenizer.template_warnings(own), []);
    let other = "{{ '<|im_start|>' + m.role }}{{ '<|im_start|>' }}<div>{{ '<｜User｜>' }}";
    let foreign: Vec<String> = tokenizer
        .template_warnings(other)
        .into_iter()
        .map(|warning| match warning {
            Warning::ForeignMarker { marker } => marker,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(foreign, ["<|im_start|>", "<｜User｜>"]);
}

/// Pieces of MiniCPM's kind: words, single bytes, and no character of its own for most scripts.
fn sentencepiece(kinds_of_ends: i32) -> Tokenizer {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..=255).map(|byte: u8| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "<", "/", "s", ">", "</", "</s", "▁a"].map(str::to_owned));
    let kinds: Vec<i32> = (0..tokens.len())
        .map(|id| match id {
            0 => 2,
            1 => 3,
            2 => kinds_of_ends,
            3..259 => 6,
            _ => 1,
        })
        .collect();
    let scores: Vec<f32> = (0..tokens.len()).map(|id| -(id as f32)).collect();
    Keys::tokens("llama", &tokens, 0, 1)
        .with("tokenizer.ggml.model", "llama")
        .with("tokenizer.ggml.token_type", Array::from(&kinds[..]))
        .with("tokenizer.ggml.scores", Array::from(&scores[..]))
        .with("tokenizer.ggml.bos_token_id", 1_u32)
        .with("tokenizer.ggml.eos_token_id", 2_u32)
        .read()
}

#[test]
fn characters_without_a_piece_fall_back_to_bytes() {
    let tokenizer = sentencepiece(3);
    let ids = tokenizer.encode("aé\n", PLAIN).unwrap();
    assert_eq!(ids, [267, 3 + 0xc3, 3 + 0xa9, 3 + 0x0a]);
    assert_eq!(tokenizer.decode(&ids), "aé\n");
}

#[test]
fn no_text_becomes_the_end_of_a_sentence() {
    for kind in [1, 3, 4] {
        let tokenizer = sentencepiece(kind);
        let ids = tokenizer.encode("a</s>", PLAIN).unwrap();
        assert!(!ids.contains(&2), "{kind}: {ids:?}");
        assert_eq!(tokenizer.decode(&ids), "a</s>");
        let parsed = tokenizer.encode("a</s>", PARSED).unwrap();
        assert_eq!(parsed, [267, 2]);
    }
}
