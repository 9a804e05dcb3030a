//! `tokenizer.json`, by way of the `tokenizers` crate.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer as Inner};

use crate::Warning;
use crate::guard::guarded;
use crate::model::{HuggingFace, Model, SPACE, byte_token};
use crate::tokenizer::Tokenizer;
use crate::vocabulary::{
    SpecialIds, SpecialTokens, Vocabulary, decode_byte_alphabet, end_of_generation, is_control,
};

/// The parts of a `tokenizer.json` that are looked at before the crate reads it; merges are passed
/// over.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    decoder: Value,
    model: Option<ModelPart>,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct ModelPart {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vocab: Ids,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
}

/// The ids of a vocabulary.
#[derive(Default)]
struct Ids {
    count: u64,
    largest: u64,
}

impl<'de> Deserialize<'de> for Ids {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Ids, D::Error> {
        deserializer.deserialize_any(IdsVisitor)
    }
}

struct IdsVisitor;

impl<'de> Visitor<'de> for IdsVisitor {
    type Value = Ids;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from tokens to ids, or a list of tokens")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ids, A::Error> {
        let mut ids = Ids::default();
        while let Some((_, id)) = map.next_entry::<IgnoredAny, u64>()? {
            ids.count += 1;
            ids.largest = ids.largest.max(id);
        }
        Ok(ids)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ids, A::Error> {
        let mut ids = Ids::default();
        while list.next_element::<IgnoredAny>()?.is_some() {
            ids.largest = ids.count;
            ids.count += 1;
        }
        Ok(ids)
    }
}

/// Ids without a token that a vocabulary may have, for each that has one, and besides.
const GAPS: (u64, u64) = (4, 65_536);

impl File {
    /// Ids are places in tables, so that the largest decides how much memory they take.
    fn check_ids(&self) -> Result<(), String> {
        let vocabulary = self.model.as_ref().map(|model| &model.vocab);
        let (count, largest) = vocabulary.map_or((0, 0), |ids| (ids.count, ids.largest));
        let count = count + self.added_tokens.len() as u64;
        let added = self.added_tokens.iter().map(|token| token.id).max();
        let largest = largest.max(added.unwrap_or(0));
        if largest > count * (1 + GAPS.0) + GAPS.1 {
            return Err(format!(
                "a token has the id {largest}, but there are only {count} tokens"
            ));
        }
        Ok(())
    }
}

/// Reads the content of a `tokenizer.json`.
///
/// Truncation and padding are left out of account: what is asked here are the ids of a whole text
/// and nothing else.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(content: &[u8]) -> Result<Tokenizer, String> {
    let file: File = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    file.check_ids()?;
    guarded(|| build(&file, content))
        .unwrap_or_else(|panic| Err(format!("its parts do not fit together: {panic}")))
}

fn build(file: &File, content: &[u8]) -> Result<Tokenizer, String> {
    let mut inner = Inner::from_bytes(content).map_err(|error| error.to_string())?;
    inner
        .with_truncation(None)
        .map_err(|error| error.to_string())?
        .with_padding(None);
    let last = inner.get_vocab(true).into_values().max();
    let size = last.map_or(0, |id| id as usize + 1);
    let warnings = make_control(&mut inner, size);
    let byte_level = mentions(&file.decoder, "ByteLevel");
    let added = inner.get_added_tokens_decoder();
    let mut texts = vec![String::new(); size];
    let mut pieces = vec![Vec::new(); size];
    for (id, (text, piece)) in (0_u32..).zip(texts.iter_mut().zip(&mut pieces)) {
        let Some(token) = inner.id_to_token(id) else {
            continue;
        };
        *piece = match added.get(&id) {
            Some(added) if added.special => Vec::new(),
            Some(added) => added.content.clone().into_bytes(),
            None if byte_level => decode_byte_alphabet(&token),
            None => byte_token(&token)
                .map_or_else(|| token.replace(SPACE, " ").into_bytes(), |byte| vec![byte]),
        };
        *text = token;
    }
    // The post-processor knows what goes before a text.
    let with_special = inner
        .encode_fast("", true)
        .map_err(|error| error.to_string())?;
    let known = ["<|begin_of_text|>", "<s>", "<bos>", "<|startoftext|>"];
    let first = with_special.get_ids().first().copied();
    let named = known.iter().find_map(|name| inner.token_to_id(name));
    let end = end_of_generation(&[], &texts);
    let bos = first.filter(|id| !end.contains(id)).or(named);
    let ids = SpecialIds {
        bos,
        eos: end.first().copied(),
        end_of_generation: end,
        add_bos: first.is_some() && first == bos,
    };
    let kind = file.model.as_ref().and_then(|model| model.kind.as_deref());
    Ok(Tokenizer {
        model: Model::HuggingFace(Box::new(HuggingFace::new(inner))),
        special: SpecialTokens::default(),
        vocabulary: Vocabulary::Owned { pieces, texts },
        ids,
        kind: format!("tokenizer.json ({}), {size} tokens", kind.unwrap_or("BPE")),
        chat_template: None,
        warnings,
    })
}

/// Makes special tokens of those that control a conversation by their names.
fn make_control(inner: &mut Inner, size: usize) -> Vec<Warning> {
    let added = inner.get_added_tokens_decoder();
    let mut warnings = Vec::new();
    let mut control = Vec::new();
    for id in 0..size as u32 {
        let Some(text) = inner.id_to_token(id).filter(|text| is_control(text)) else {
            continue;
        };
        let (token, kind) = match added.get(&id) {
            Some(token) if token.special => continue,
            Some(token) => (token.clone(), "a token that was added to the vocabulary"),
            None => (AddedToken::from(text.as_str(), true), "text"),
        };
        control.push(token.special(true));
        warnings.push(Warning::ControlByName { id, text, kind });
    }
    if !control.is_empty() {
        inner.add_special_tokens(&control);
    }
    warnings
}

/// Whether a decoder, or one of a sequence, is of this type.
fn mentions(decoder: &Value, kind: &str) -> bool {
    let within = decoder["decoders"].as_array();
    decoder["type"] == kind
        || within.is_some_and(|all| all.iter().any(|decoder| mentions(decoder, kind)))
}
