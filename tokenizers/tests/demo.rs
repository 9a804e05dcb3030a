//! The demo model's tokenizer, from inside its GGUF and from `tokenizer.json`.

use std::path::{Path, PathBuf};

use bitnet_tokenizers::{Encode, Special, Tokenizer};

fn demo(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../demo")
        .join(file)
}

fn both() -> [Tokenizer; 2] {
    ["demo.gguf", "tokenizer.json"].map(|file| Tokenizer::from_file(&demo(file)).unwrap())
}

const PLAIN: Encode = Encode {
    bos: false,
    special: Special::AsText,
};
const PARSED: Encode = Encode {
    bos: false,
    special: Special::Parse,
};

#[test]
fn both_forms_give_the_ids_that_the_model_was_trained_with() {
    let texts = [
        "ROMEO:\nWhat light",
        "",
        " ",
        "a  b\n\n\tc   ",
        "naïve café — “quotes” … ½ 日本語 🎉🎉",
        "12345 'tis o'er we'll I'LL",
    ];
    let [gguf, json] = both();
    assert_eq!(
        gguf.encode(texts[0], PLAIN).unwrap(),
        [859, 26, 199, 462, 360, 349]
    );
    for text in texts {
        let ids = gguf.encode(text, PLAIN).unwrap();
        assert_eq!(ids, json.encode(text, PLAIN).unwrap(), "{text:?}");
        assert_eq!(gguf.decode(&ids), text);
        assert_eq!(json.decode(&ids), text);
    }
}

#[test]
fn a_special_token_in_text_is_text_unless_asked_otherwise() {
    for tokenizer in both() {
        let text = "a<|endoftext|>b";
        let ids = tokenizer.encode(text, PLAIN).unwrap();
        assert!(!ids.contains(&0), "{tokenizer:?}");
        assert_eq!(tokenizer.decode(&ids), text);
        let ids = tokenizer.encode(text, PARSED).unwrap();
        assert_eq!(
            ids.iter().filter(|id| **id == 0).count(),
            1,
            "{tokenizer:?}"
        );
        assert_eq!(tokenizer.decode(&ids), "ab");
        assert_eq!(tokenizer.eog_ids(), [0]);
    }
}

#[test]
fn a_stream_never_shows_half_a_character() {
    for tokenizer in both() {
        let text = "é 日本 🎉 end";
        let ids = tokenizer.encode(text, PLAIN).unwrap();
        assert!(
            ids.len() > text.chars().count(),
            "characters should take several tokens here"
        );
        let mut stream = tokenizer.stream();
        let mut shown = String::new();
        for id in &ids {
            let piece = stream.push(*id);
            assert!(!piece.contains(char::REPLACEMENT_CHARACTER));
            shown.push_str(piece);
        }
        assert_eq!(shown + &stream.finish(), text);

        let mut cut = tokenizer.stream();
        let party = tokenizer.encode("🎉", PLAIN).unwrap();
        assert_eq!(cut.push(party[0]), "");
        assert_eq!(cut.finish(), "\u{fffd}");
    }
}

#[test]
fn a_long_run_of_one_letter_is_no_worst_case() {
    let [gguf, _] = both();
    let text = "a".repeat(200_000);
    let ids = gguf.encode(&text, PLAIN).unwrap();
    assert_eq!(gguf.decode(&ids).len(), text.len());
    let spaces = " ".repeat(200_000);
    assert_eq!(gguf.decode(&gguf.encode(&spaces, PLAIN).unwrap()), spaces);
}
