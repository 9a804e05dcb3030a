//! Byte-level BPE with a word rule that is there by hand, as LLaMA-3, GPT-4o and GPT-2 have it:
//! made by this crate, in a tenth of the time that the general way takes.
//!
//! What is not exactly so goes the general way.

use serde_json::Value;

use super::file::{Added, File};
use crate::model::{Bpe, ByteLevel, BytePairs, Model};
use crate::pre_tokenizer::PreTokenizer;
use crate::tokenizer::Tokenizer;
use crate::vocabulary::{
    SpecialIds, SpecialTokens, Vocabulary, decode_byte_alphabet, end_of_generation, is_control,
};

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The tokenizer, if it is of this kind. `largest` is its largest id.
pub(super) fn build(file: &File<'_>, largest: u64) -> Option<Tokenizer> {
    let model = file.model.as_ref()?;
    let none = |value: &Value| value.is_null() || value == "";
    let of_this_kind = model.kind.as_deref() == Some("BPE")
        && file.normalizer.is_null()
        && file.decoder["type"] == "ByteLevel"
        && model.dropout.is_null()
        && none(&model.continuing_subword_prefix)
        && none(&model.end_of_word_suffix)
        && file.added_tokens.iter().all(is_plain);
    if !of_this_kind {
        return None;
    }
    let pre = word_rule(&file.pre_tokenizer)?;
    let first = begins_with(&file.post_processor)?;
    let merges = model.merges.0.as_ref()?;
    let whole_words = match &model.ignore_merges {
        Value::Null => false,
        value => value.as_bool()?,
    };

    let size = usize::try_from(largest).ok()? + 1;
    let mut texts = vec![String::new(); size];
    let mut pieces = vec![Vec::new(); size];
    for (text, id) in &model.vocab.entries {
        let id = *id as usize;
        // Two tokens with one id.
        if !texts[id].is_empty() || text.is_empty() {
            return None;
        }
        decode_byte_alphabet(text, &mut pieces[id]);
        texts[id] = text.to_string();
    }
    let entries = model.vocab.entries.iter();
    let tokens = entries.map(|(_, id)| (pieces[*id as usize].as_slice().into(), *id as u32));
    let mut bpe = Bpe::listed(tokens, whole_words);
    let every_byte = (0..=255_u8).all(|byte| bpe.id(&[byte]).is_some());
    // Two tokens with one spelling.
    let spelled_alike = bpe.pieces() != model.vocab.entries.len();
    if !every_byte || spelled_alike {
        return None;
    }
    let mut bytes = Vec::new();
    for (left, right) in merges {
        bytes.clear();
        decode_byte_alphabet(left, &mut bytes);
        let left = bytes.len();
        decode_byte_alphabet(right, &mut bytes);
        if !bpe.add_merge(&bytes, left) {
            return None;
        }
    }
    let mut special = Vec::new();
    for token in &file.added_tokens {
        let id = token.id as usize;
        if !texts[id].is_empty() && texts[id] != token.content {
            return None;
        }
        texts[id].clone_from(&token.content);
        pieces[id] = match token.special {
            true => Vec::new(),
            false => token.content.clone().into_bytes(),
        };
        special.push((token.content.clone(), id as u32, !token.special));
    }
    // The general way makes control tokens of those that are not marked.
    let marked = |id: usize| {
        special
            .iter()
            .any(|(_, of, always)| *of as usize == id && !always)
    };
    if (0..size).any(|id| is_control(&texts[id]) && !marked(id)) {
        return None;
    }
    let named = |text: &str| {
        let at = texts.iter().position(|other| other == text);
        at.map(|id| id as u32)
    };
    let first = match first {
        Some(name) => Some(named(name)?),
        None => None,
    };
    let end = end_of_generation(&[], &texts);
    let known = ["<|begin_of_text|>", "<s>", "<bos>", "<|startoftext|>"];
    let bos = first.filter(|id| !end.contains(id));
    let bos = bos.or_else(|| known.into_iter().find_map(named));
    Some(Tokenizer {
        model: Model::ByteLevel(ByteLevel {
            bpe: BytePairs::Read(bpe),
            pre,
        }),
        special: SpecialTokens::new(special),
        ids: SpecialIds {
            bos,
            eos: end.first().copied(),
            add_bos: first.is_some() && first == bos,
            end_of_generation: end,
        },
        kind: format!("tokenizer.json (BPE), {size} tokens"),
        vocabulary: Vocabulary::Owned { pieces, texts },
        warnings: Vec::new(),
    })
}

/// Whether a token is found in text wherever it is spelled out, and can overlap with no other: it
/// begins with its only `<`.
fn is_plain(token: &Added) -> bool {
    let alone = token.content.strip_prefix('<');
    alone.is_some_and(|rest| rest.ends_with('>') && !rest.contains('<'))
        && !(token.single_word || token.lstrip || token.rstrip)
}

/// The rule of a `ByteLevel`, or of a `Split` before one.
fn word_rule(pre: &Value) -> Option<PreTokenizer> {
    let byte_level = |step: &Value, uses_regex: bool| {
        step["type"] == "ByteLevel"
            && step["add_prefix_space"] == false
            && step["use_regex"].as_bool().unwrap_or(true) == uses_regex
    };
    if byte_level(pre, true) {
        return Some(PreTokenizer::named("gpt-2").ok()?.rule);
    }
    let steps = pre["pretokenizers"].as_array()?;
    let [split, last] = steps.as_slice() else {
        return None;
    };
    let isolates = split["behavior"] == "Isolated" && split["invert"] == false
        || split["behavior"] == "Removed" && split["invert"] == true;
    let of_two = pre["type"] == "Sequence" && split["type"] == "Split" && isolates;
    if !of_two || !byte_level(last, false) {
        return None;
    }
    match split["pattern"]["Regex"].as_str()? {
        LLAMA3 => Some(PreTokenizer::llama3()),
        O200K => Some(PreTokenizer::o200k()),
        _ => None,
    }
}

/// The token that a post-processor puts before a text; none where it is of another kind.
fn begins_with(post: &Value) -> Option<Option<&str>> {
    match post["type"].as_str() {
        None => post.is_null().then_some(None),
        Some("ByteLevel") => Some(None),
        Some("TemplateProcessing") => match post["single"].as_array()?.as_slice() {
            [begin, text] if text["Sequence"]["id"] == "A" => {
                let name = begin["SpecialToken"]["id"].as_str()?;
                // It stands for itself, not for several.
                let ids = post["special_tokens"][name]["tokens"].as_array()?;
                (ids.as_slice() == [name]).then_some(Some(name))
            }
            [text] if text["Sequence"]["id"] == "A" => Some(None),
            _ => None,
        },
        Some("Sequence") => {
            let mut found = None;
            for step in post["processors"].as_array()? {
                if let Some(name) = begins_with(step)?
                    && found.replace(name).is_some()
                {
                    return None;
                }
            }
            Some(found)
        }
        Some(_) => None,
    }
}
