//! `tokenizer.json`.

mod byte_level;
mod file;
mod general;

use crate::guard::guarded;
use crate::tokenizer::Tokenizer;

/// Reads the content of a `tokenizer.json`.
///
/// Truncation and padding are left out of account: what is asked here are the ids of a whole text
/// and nothing else.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(content: &[u8]) -> Result<Tokenizer, String> {
    let file: file::File<'_> =
        serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let largest = file.largest_id()?;
    file.is_repeatable()?;
    if let Some(tokenizer) = byte_level::build(&file, largest) {
        return Ok(tokenizer);
    }
    guarded(|| general::build(&file, content))
        .unwrap_or_else(|panic| Err(format!("its parts do not fit together: {panic}")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use bitnet_fixtures::Noise;

    use super::*;
    use crate::{Encode, Special};

    const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    fn demo() -> Value {
        let text = include_bytes!("../../../../demo/tokenizer.json");
        serde_json::from_slice(text).expect("JSON")
    }

    /// The demo's vocabulary under another word rule.
    fn split_by(rule: &str, behavior: &str, invert: bool) -> Value {
        let mut file = demo();
        let split = json!({
            "type": "Split", "pattern": {"Regex": rule}, "behavior": behavior, "invert": invert,
        });
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
            "use_regex": false,
        });
        file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [split, bytes]});
        file["model"]["ignore_merges"] = json!(true);
        file["added_tokens"]
            .as_array_mut()
            .expect("a list")
            .push(json!({
                "id": 1024, "content": "<mine>", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": false,
            }));
        file["post_processor"] = json!({
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {
                "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]},
            },
        });
        file
    }

    fn both(content: &[u8]) -> Option<[Tokenizer; 2]> {
        let file: file::File<'_> = serde_json::from_slice(content).expect("a file");
        let largest = file.largest_id().expect("ids in proportion");
        let ours = byte_level::build(&file, largest)?;
        Some([ours, general::build(&file, content).expect("a tokenizer")])
    }

    fn texts() -> impl Iterator<Item = String> {
        const PARTS: [&str; 24] = [
            "the",
            "ROMEO",
            "a",
            "S",
            "'s",
            "'LL",
            "'ſ",
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "12",
            "345",
            "!",
            "/",
            "é",
            "日本",
            "🎉",
            "\u{3000}",
            "<mine>",
            "<|endoftext|>",
            "<",
            "x|>",
        ];
        let mut noise = Noise::new(3);
        let mut random = move |below: usize| noise.below(below as u32) as usize;
        (0..3000).map(move |_| {
            let parts = 1 + random(14);
            (0..parts).map(|_| PARTS[random(PARTS.len())]).collect()
        })
    }

    #[test]
    fn the_quick_way_gives_what_the_general_way_gives() {
        for file in [
            demo(),
            split_by(LLAMA3, "Isolated", false),
            split_by(LLAMA3, "Removed", true),
            split_by(O200K, "Isolated", false),
        ] {
            let content = serde_json::to_vec(&file).expect("bytes");
            let [ours, theirs] = both(&content).expect("of the quick kind");
            assert_eq!(ours.kind(), theirs.kind());
            assert_eq!(ours.bos(), theirs.bos());
            assert_eq!(ours.add_bos(), theirs.add_bos());
            assert_eq!(ours.eog_ids(), theirs.eog_ids());
            assert_eq!(ours.config_hash(), theirs.config_hash());
            for special in [Special::AsText, Special::Parse] {
                let options = Encode { bos: true, special };
                for text in texts() {
                    let [ours, theirs] =
                        [&ours, &theirs].map(|it| it.encode(&text, options).expect("ids"));
                    assert_eq!(ours, theirs, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn a_tokenizer_that_draws_is_refused() {
        for (dropout, is_read) in [(json!(0), true), (json!(0.1), false), (json!("x"), false)] {
            let mut file = demo();
            file["model"]["dropout"] = dropout.clone();
            let read = read(&serde_json::to_vec(&file).expect("bytes"));
            assert_eq!(read.is_ok(), is_read, "{dropout}");
            assert!(
                read.err()
                    .is_none_or(|said| said.contains("`model.dropout`"))
            );
        }
    }

    #[test]
    fn what_is_not_exactly_of_the_quick_kind_goes_the_general_way() {
        for (part, value) in [
            ("/normalizer", json!({"type": "NFC"})),
            ("/model/dropout", json!(0.1)),
            ("/model/end_of_word_suffix", json!("</w>")),
            ("/model/merges/3", json!(["zz", "q"])),
            ("/pre_tokenizer/add_prefix_space", json!(true)),
            ("/pre_tokenizer/type", json!("Whitespace")),
            ("/added_tokens/0/lstrip", json!(true)),
            ("/added_tokens/0/special", json!(false)),
            ("/added_tokens/0/content", json!("end")),
            ("/decoder", json!(null)),
            ("/post_processor", json!({"type": "RobertaProcessing"})),
        ] {
            let mut file = demo();
            let found = file.pointer_mut(part);
            *found.unwrap_or_else(|| panic!("{part}")) = value;
            let content = serde_json::to_vec(&file).expect("bytes");
            let file: file::File<'_> = serde_json::from_slice(&content).expect("a file");
            let largest = file.largest_id().expect("ids in proportion");
            assert!(byte_level::build(&file, largest).is_none(), "{part}");
        }
    }
}
