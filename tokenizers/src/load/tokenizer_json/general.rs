//! Any `tokenizer.json`, by way of the `tokenizers` crate.

use serde_json::Value;
use tokenizers::{AddedToken, Tokenizer as Inner};

use super::file::File;
use crate::Warning;
use crate::model::{HuggingFace, Model, SPACE, byte_token};
use crate::tokenizer::Tokenizer;
use crate::vocabulary::{
    SpecialIds, SpecialTokens, Vocabulary, decode_byte_alphabet, end_of_generation, is_control,
};

/// Any tokenizer that the crate reads.
///
/// # Errors
/// What the crate says.
pub(super) fn build(file: &File<'_>, content: &[u8]) -> Result<Tokenizer, String> {
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
            None if byte_level => {
                let mut bytes = Vec::with_capacity(token.len());
                decode_byte_alphabet(&token, &mut bytes);
                bytes
            }
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
    let special = added.into_iter();
    let special = special.map(|(id, token)| (token.content, id, !token.special));
    let kind = file.model.as_ref().and_then(|model| model.kind.as_deref());
    Ok(Tokenizer {
        model: Model::HuggingFace(Box::new(HuggingFace::new(inner))),
        special: SpecialTokens::new(special.collect()),
        vocabulary: Vocabulary::Owned { pieces, texts },
        ids,
        kind: format!("tokenizer.json ({}), {size} tokens", kind.unwrap_or("BPE")),
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
