//! `tokenizer.json`, by way of the `tokenizers` crate.

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer as Inner;

use crate::model::{HuggingFace, Model, SPACE, byte_token};
use crate::tokenizer::Tokenizer;
use crate::vocabulary::{
    SpecialIds, SpecialTokens, Vocabulary, decode_byte_alphabet, end_of_generation,
};

/// The parts of a `tokenizer.json` that the crate does not give out; vocabulary and merges are
/// passed over.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    decoder: Value,
    model: Option<ModelPart>,
}

#[derive(Deserialize)]
struct ModelPart {
    #[serde(rename = "type")]
    kind: Option<String>,
}

/// Reads the content of a `tokenizer.json`.
pub(super) fn read(content: &[u8]) -> Result<Tokenizer, String> {
    let file: File = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let inner = Inner::from_bytes(content).map_err(|error| error.to_string())?;
    let size = inner
        .get_vocab(true)
        .values()
        .max()
        .map_or(0, |id| *id as usize + 1);
    let byte_level = mentions(&file.decoder, "ByteLevel");
    let added = inner.get_added_tokens_decoder();
    let mut texts = vec![String::new(); size];
    let mut pieces = vec![Vec::new(); size];
    for (id, (text, piece)) in texts.iter_mut().zip(&mut pieces).enumerate() {
        let Some(token) = inner.id_to_token(id as u32) else {
            continue;
        };
        *piece = match added.get(&(id as u32)) {
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
    let kind = file.model.and_then(|model| model.kind);
    let kind = kind.as_deref().unwrap_or("BPE");
    let name = format!("tokenizer.json ({kind}), {size} tokens");
    let model = Model::HuggingFace(Box::new(HuggingFace::new(inner)));
    Ok(Tokenizer {
        model,
        special: SpecialTokens::default(),
        vocabulary: Vocabulary::Owned { pieces, texts },
        ids,
        kind: name,
        chat_template: None,
    })
}

/// Whether a decoder, or one of a sequence, is of this type.
fn mentions(decoder: &Value, kind: &str) -> bool {
    let within = decoder["decoders"].as_array();
    decoder["type"] == kind
        || within.is_some_and(|all| all.iter().any(|decoder| mentions(decoder, kind)))
}
