//! Tokenizers inside GGUF files.

use std::collections::HashMap;

use bitnet_gguf::keys::Fate;
use bitnet_gguf::{Gguf, Metadata, Value};

use super::tiktoken::{LLAMA3_BOS, is_llama3};
use crate::model::{Bpe, ByteLevel, BytePairs, Model, SPACE, SentencePiece, byte_token};
use crate::pre_tokenizer::PreTokenizer;
use crate::tokenizer::Tokenizer;
use crate::vocabulary::{
    SpecialIds, SpecialTokens, Vocabulary, decode_byte_alphabet, end_of_generation, is_control,
};
use crate::{Error, Warning, keys};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";

/// Most keys that are warned about.
const DOUBTS: usize = 20;

/// Values of `tokenizer.ggml.token_type`.
mod token_type {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
}

/// What the keys of the file give.
struct Parts {
    model: Model,
    /// The bytes of the tokens.
    pieces: Vec<Vec<u8>>,
    /// For people.
    name: String,
    /// Whether texts begin with BOS where the file does not say.
    add_bos: bool,
}

/// Reads the tokenizer in the metadata of a file.
///
/// # Errors
/// [`Error::Absent`] where there is none; else what is wrong with it.
pub(super) fn read(gguf: &Gguf) -> Result<Tokenizer, Error> {
    let metadata = gguf.metadata();
    let model = match metadata.opt_str(MODEL)? {
        None | Some("no_vocab" | "none") => return Err(Error::Absent),
        Some(model) => model,
    };
    let mut warnings = doubts(metadata)?;
    let texts: Vec<String> = metadata
        .str_array(TOKENS)?
        .map(|text| text.map(str::to_owned))
        .collect::<Result<_, _>>()?;
    let mut types = metadata
        .opt_i32_array("tokenizer.ggml.token_type")?
        .unwrap_or_else(|| vec![token_type::NORMAL; texts.len()]);
    if types.len() != texts.len() {
        return Err(Error::Vocabulary(format!(
            "{} tokens have {} types",
            texts.len(),
            types.len()
        )));
    }
    let mut id = |key: &str| special_id(metadata, key, texts.len(), &mut warnings);
    let [bos, eos, eot, eom, fim_pad, fim_rep, fim_sep] = [
        id("tokenizer.ggml.bos_token_id")?,
        id("tokenizer.ggml.eos_token_id")?,
        id("tokenizer.ggml.eot_token_id")?,
        id("tokenizer.ggml.eom_token_id")?,
        id("tokenizer.ggml.fim_pad_token_id")?,
        id("tokenizer.ggml.fim_rep_token_id")?,
        id("tokenizer.ggml.fim_sep_token_id")?,
    ];
    // As llama.cpp takes them.
    let ends = [eos, eot, eom, fim_pad, fim_rep, fim_sep];
    let without_pre = model == "gpt2" && !metadata.contains(PRE);
    let llama3 = without_pre && is_llama3(&texts);
    let bos = bos.or(llama3.then_some(LLAMA3_BOS));
    for id in [bos, eos, eot, eom].into_iter().flatten() {
        // A file may name a word as its end.
        if is_marker(&texts[id as usize]) && types[id as usize] == token_type::USER_DEFINED {
            warnings.push(make_control(&texts, &mut types, id));
        }
    }
    for (id, text) in (0_u32..).zip(&texts) {
        if types[id as usize] != token_type::CONTROL && is_control(text) {
            warnings.push(make_control(&texts, &mut types, id));
        }
    }
    warnings.extend(spelled_alike(&texts, &types));
    let special = (0_u32..).zip(types.iter().zip(&texts));
    let special = special.filter(|(_, (kind, _))| {
        matches!(
            **kind,
            token_type::CONTROL | token_type::USER_DEFINED | token_type::UNKNOWN
        )
    });
    let special = special
        .map(|(id, (kind, text))| (text.clone(), id, *kind == token_type::USER_DEFINED))
        .collect();
    let parts = match model {
        "gpt2" => {
            let pre = match metadata.opt_str(PRE)? {
                Some(pre) => pre,
                None if llama3 => "llama-bpe",
                None => {
                    warnings.push(Warning::MissingPreTokenizer);
                    "default"
                }
            };
            let parts = byte_level(metadata, pre, &texts, &types)?;
            warnings.extend(missing_bytes(&parts.pieces, &types));
            parts
        }
        "llama" => sentencepiece(metadata, &texts, &types)?,
        other => {
            return Err(Error::UnknownModel {
                found: other.to_owned(),
            });
        }
    };
    let hidden = |kind: &i32| matches!(*kind, token_type::CONTROL | token_type::UNKNOWN);
    let pieces = parts.pieces.into_iter().zip(&types);
    let pieces = pieces.map(|(bytes, kind)| if hidden(kind) { Vec::new() } else { bytes });
    let pieces = pieces.collect();
    let add_bos = metadata.opt_bool("tokenizer.ggml.add_bos_token")?;
    Ok(Tokenizer {
        model: parts.model,
        special: SpecialTokens::new(special),
        ids: SpecialIds {
            bos,
            eos,
            end_of_generation: end_of_generation(&ends, &texts),
            add_bos: bos.is_some() && add_bos.unwrap_or(parts.add_bos),
        },
        vocabulary: Vocabulary::Owned { pieces, texts },
        kind: parts.name,
        warnings,
    })
}

/// The first two tokens that text can become and that are spelled alike.
fn spelled_alike(texts: &[String], types: &[i32]) -> Option<Warning> {
    let used = |kind: i32| matches!(kind, token_type::NORMAL | token_type::USER_DEFINED);
    let mut ids = HashMap::with_capacity(texts.len());
    let mut twins = (0_u32..)
        .zip(texts.iter().zip(types))
        .filter(|(_, (_, kind))| used(**kind))
        .filter_map(|(id, (text, _))| Some((ids.insert(text, id)?, id, text)));
    let (first, second, text) = twins.next()?;
    Some(Warning::SpelledAlike {
        first,
        second,
        text: text.clone(),
        others: twins.count(),
    })
}

/// The bytes of UTF-8 that no token of a byte-level vocabulary stands for.
fn missing_bytes(pieces: &[Vec<u8>], types: &[i32]) -> Option<Warning> {
    let mut is_there = [false; 256];
    for (piece, kind) in pieces.iter().zip(types) {
        if let ([byte], token_type::NORMAL) = (&piece[..], *kind) {
            is_there[usize::from(*byte)] = true;
        }
    }
    let is_in_texts = |byte: &u8| !matches!(byte, 0xc0 | 0xc1 | 0xf5..=0xff);
    let mut missing =
        (0..=u8::MAX).filter(|byte| !is_there[usize::from(*byte)] && is_in_texts(byte));
    let first = missing.next()?;
    let others = missing.count();
    Some(Warning::MissingBytes { first, others })
}

/// What is doubtful about the keys of a tokenizer.
///
/// # Errors
/// [`Error::Key`] for one that wants what this crate does not do.
fn doubts(metadata: &Metadata) -> Result<Vec<Warning>, Error> {
    let mut doubts = Vec::new();
    for (key, value) in metadata.iter() {
        if !key.starts_with(keys::PREFIX) {
            continue;
        }
        match keys::fate(key, value, metadata) {
            Fate::Refused(problem) => return Err(Error::Key(problem)),
            Fate::Doubtful(doubt) if doubts.len() < DOUBTS => doubts.push(Warning::Key(doubt)),
            Fate::Doubtful(_) | Fate::NoEffect(_) | Fate::Honoured => {}
        }
    }
    Ok(doubts)
}

/// The id under a key. One that the vocabulary does not have is passed over with a warning, as
/// llama.cpp does.
fn special_id(
    metadata: &Metadata,
    key: &str,
    tokens: usize,
    warnings: &mut Vec<Warning>,
) -> Result<Option<u32>, Error> {
    let Some(found) = metadata.get(key).and_then(Value::as_integer) else {
        return Ok(metadata.opt_u32(key)?);
    };
    let id = u32::try_from(found).ok();
    let id = id.filter(|id| (*id as usize) < tokens);
    if id.is_none() {
        warnings.push(Warning::IdOutOfRange {
            key: key.to_owned(),
            id: i64::try_from(found).unwrap_or(i64::MAX),
            tokens,
        });
    }
    Ok(id)
}

/// Whether a token is spelled as markers are: `<...>` or `[...]`.
fn is_marker(text: &str) -> bool {
    let within = |open, close| text.starts_with(open) && text.ends_with(close);
    within('<', '>') || within('[', ']')
}

fn make_control(texts: &[String], types: &mut [i32], id: u32) -> Warning {
    let before = std::mem::replace(&mut types[id as usize], token_type::CONTROL);
    Warning::ControlByName {
        id,
        text: texts[id as usize].clone(),
        kind: match before {
            token_type::NORMAL => "normal",
            token_type::UNKNOWN => "unknown",
            token_type::USER_DEFINED => "user-defined",
            _ => "something else",
        },
    }
}

fn byte_level(
    metadata: &Metadata,
    pre: &str,
    texts: &[String],
    types: &[i32],
) -> Result<Parts, Error> {
    let named = PreTokenizer::named(pre)?;
    let pieces: Vec<Vec<u8>> = texts
        .iter()
        .zip(types)
        .map(|(text, kind)| {
            let mut bytes = Vec::with_capacity(text.len());
            match *kind {
                token_type::NORMAL => decode_byte_alphabet(text, &mut bytes),
                _ => bytes.extend_from_slice(text.as_bytes()),
            }
            bytes
        })
        .collect();
    let normal = (0_u32..).zip(pieces.iter().zip(types));
    let normal = normal.filter(|(_, (_, kind))| **kind == token_type::NORMAL);
    let normal = normal.map(|(id, (bytes, _))| (bytes.as_slice().into(), id));
    let mut bpe = Bpe::listed(normal, named.whole_words);
    let mut bytes = Vec::new();
    for (rank, merge) in metadata.str_array("tokenizer.ggml.merges")?.enumerate() {
        let merge = merge?;
        // The first character may be a space itself.
        let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
        let (at, _) = at.ok_or_else(|| {
            Error::Vocabulary(format!("merge {rank}, {merge:?}, has no two parts"))
        })?;
        bytes.clear();
        decode_byte_alphabet(&merge[..at], &mut bytes);
        let left = bytes.len();
        decode_byte_alphabet(&merge[at + 1..], &mut bytes);
        bpe.add_merge(&bytes, left);
    }
    Ok(Parts {
        model: Model::ByteLevel(ByteLevel {
            bpe: BytePairs::Read(bpe),
            pre: named.rule,
        }),
        pieces,
        name: format!("gpt2 byte-level BPE ({pre}), {} tokens", texts.len()),
        add_bos: named.add_bos,
    })
}

fn sentencepiece(metadata: &Metadata, texts: &[String], types: &[i32]) -> Result<Parts, Error> {
    let scores = metadata.f32_array("tokenizer.ggml.scores")?;
    if scores.len() != texts.len() {
        return Err(Error::Vocabulary(format!(
            "{} tokens have {} scores",
            texts.len(),
            scores.len()
        )));
    }
    let add_space_prefix = metadata
        .opt_bool("tokenizer.ggml.add_space_prefix")?
        .unwrap_or(true);
    let pieces = texts.iter().map(|text| match byte_token(text) {
        Some(byte) => vec![byte],
        None => text.replace(SPACE, " ").into_bytes(),
    });
    let pieces = pieces.collect();
    // No text becomes a control token.
    let written = types
        .iter()
        .map(|kind| *kind != token_type::CONTROL)
        .collect::<Vec<_>>();
    Ok(Parts {
        model: Model::SentencePiece(SentencePiece::new(
            texts,
            &written,
            scores,
            add_space_prefix,
        )?),
        pieces,
        name: format!("llama SentencePiece BPE, {} tokens", texts.len()),
        add_bos: true,
    })
}
