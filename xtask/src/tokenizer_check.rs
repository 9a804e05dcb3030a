//! Whether a file is the LLaMA-3 `tokenizer.json`: its structure, its vocabulary, and that the
//! engine loads it.

use std::fmt;
use std::path::Path;

use bitnet_tokenizers::{LLAMA3_TOKENS, Tokenizer};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

/// The parts of a `tokenizer.json` that a byte-level BPE tokenizer cannot do without.
#[derive(serde::Deserialize)]
struct TokenizerFile {
    model: Model,
    added_tokens: Vec<AddedToken>,
    #[serde(rename = "pre_tokenizer")]
    _pre_tokenizer: IgnoredAny,
}

#[derive(serde::Deserialize)]
struct Model {
    vocab: Ids,
    #[serde(rename = "merges")]
    _merges: Vec<IgnoredAny>,
}

/// The ids of a map from tokens to ids.
struct Ids(Vec<u32>);

impl<'de> serde::Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ids, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Ids;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ids, A::Error> {
                let mut ids = Vec::new();
                while let Some((_, id)) = map.next_entry::<IgnoredAny, u32>()? {
                    ids.push(id);
                }
                Ok(Ids(ids))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[derive(serde::Deserialize)]
struct AddedToken {
    id: u32,
}

/// Count the tokens of the file, then load it as the engine will.
///
/// # Errors
/// In words: it cannot be read, where its JSON ends to make sense, which field is missing, how many
/// tokens it has instead of [`LLAMA3_TOKENS`], or why it does not load.
pub fn check(path: &Path) -> Result<usize, String> {
    let text = bitnet_files::read(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let tokens = structure(&text).map_err(|reason| format!("{}: {reason}", path.display()))?;
    match Tokenizer::from_tokenizer_json(&text) {
        Ok(tokenizer) if tokenizer.vocab_size() == tokens => Ok(tokens),
        Ok(tokenizer) => Err(format!(
            "{}: holds {tokens} tokens, but loads as {}",
            path.display(),
            tokenizer.vocab_size()
        )),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The number of tokens, if everything is there. Says what is missing, and where, in plainer words
/// than the loader.
fn structure(text: &[u8]) -> Result<usize, String> {
    let file: TokenizerFile = serde_json::from_slice(text).map_err(|error| {
        let expected = "expected model.vocab, model.merges, added_tokens and pre_tokenizer";
        if error.is_data() {
            format!("{error} ({expected})")
        } else {
            format!("not JSON: {error}")
        }
    })?;
    let Ids(mut ids) = file.model.vocab;
    ids.extend(file.added_tokens.iter().map(|token| token.id));
    ids.sort_unstable();
    ids.dedup();
    let without_gaps = ids.iter().zip(0..).all(|(id, place)| *id == place);
    match ids.len() {
        LLAMA3_TOKENS if without_gaps => Ok(LLAMA3_TOKENS),
        LLAMA3_TOKENS => Err(format!(
            "the token ids do not run from 0 to {}",
            LLAMA3_TOKENS - 1
        )),
        found => Err(format!(
            "expected {LLAMA3_TOKENS} tokens (LLaMA-3), found {found}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{LLAMA3_TOKENS, structure};

    fn file(vocab: usize, added: &[usize]) -> Vec<u8> {
        let vocab: serde_json::Map<_, _> =
            (0..vocab).map(|id| (format!("t{id}"), id.into())).collect();
        let added: Vec<_> = added
            .iter()
            .map(|id| serde_json::json!({"id": id, "content": format!("t{id}")}))
            .collect();
        let all = serde_json::json!({
            "added_tokens": added, "pre_tokenizer": null, "model": {"vocab": vocab, "merges": []},
        });
        serde_json::to_vec(&all).expect("json")
    }

    #[test]
    fn added_tokens_count_once_whether_or_not_they_are_in_the_vocabulary() {
        let specials: Vec<_> = (128_000..LLAMA3_TOKENS).collect();
        assert_eq!(structure(&file(128_000, &specials)), Ok(LLAMA3_TOKENS));
        assert_eq!(
            structure(&file(LLAMA3_TOKENS, &specials)),
            Ok(LLAMA3_TOKENS)
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_numbers_names_and_places() {
        for (bytes, said) in [
            (file(10, &[]), "expected 128256 tokens (LLaMA-3), found 10"),
            (
                file(LLAMA3_TOKENS - 1, &[200_000]),
                "do not run from 0 to 128255",
            ),
            (b"{\n\"model\": {".to_vec(), "line 2"),
            (
                br#"{"model":{"vocab":{}},"added_tokens":[],"pre_tokenizer":null}"#.to_vec(),
                "missing field `merges`",
            ),
            (
                br#"{"model":{"merges":[]}}"#.to_vec(),
                "missing field `vocab`",
            ),
            (
                br#"{"model":{"vocab":{"a":-1},"merges":[]}}"#.to_vec(),
                "invalid value",
            ),
        ] {
            let reason = structure(&bytes).expect_err(said);
            assert!(reason.contains(said), "{reason}");
        }
    }
}
