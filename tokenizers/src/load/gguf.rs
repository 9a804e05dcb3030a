//! Tokenizers inside GGUF files.

use bitnet_gguf::{Gguf, Metadata};

use super::tiktoken::LLAMA3_TOKENS;
use crate::Error;
use crate::model::{
    Bpe, ByteLevel, BytePairs, Map, Merges, Model, SPACE, SentencePiece, byte_token,
};
use crate::pre_tokenizer::PreTokenizer;
use crate::tokenizer::Tokenizer;
use crate::vocabulary::{
    SpecialIds, SpecialTokens, Vocabulary, decode_byte_alphabet, end_of_generation,
};

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";

/// Values of `tokenizer.ggml.token_type`.
mod kind {
    pub(super) const NORMAL: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const CONTROL: i32 = 3;
    pub(super) const USER_DEFINED: i32 = 4;
}

pub(super) fn read(gguf: &Gguf) -> Result<Tokenizer, Error> {
    let metadata = gguf.metadata();
    let model = match metadata.opt_str(MODEL)? {
        None | Some("no_vocab" | "none") => return Err(Error::Absent),
        Some(model) => model,
    };
    let texts: Vec<String> = metadata
        .str_array(TOKENS)?
        .map(|text| text.map(str::to_owned))
        .collect::<Result<_, _>>()?;
    let kinds = metadata
        .opt_i32_array("tokenizer.ggml.token_type")?
        .unwrap_or_else(|| vec![kind::NORMAL; texts.len()]);
    if kinds.len() != texts.len() {
        return Err(Error::Vocabulary(format!(
            "{} tokens have {} types",
            texts.len(),
            kinds.len()
        )));
    }
    let special = SpecialTokens::new(
        kinds
            .iter()
            .enumerate()
            .filter(|(_, kind)| {
                matches!(**kind, kind::CONTROL | kind::USER_DEFINED | kind::UNKNOWN)
            })
            .map(|(id, kind)| (texts[id].clone(), id as u32, *kind == kind::USER_DEFINED))
            .collect(),
    );
    let hidden = |id: usize| matches!(kinds[id], kind::CONTROL | kind::UNKNOWN);
    let (model, pieces, name, add_bos) = match model {
        "gpt2" => byte_level(gguf, &texts, &kinds)?,
        "llama" => sentencepiece(metadata, &texts, &kinds)?,
        other => {
            return Err(Error::UnknownModel {
                found: other.to_owned(),
            });
        }
    };
    let pieces = pieces
        .into_iter()
        .enumerate()
        .map(|(id, bytes)| if hidden(id) { Vec::new() } else { bytes });
    let id = |key: &str| -> Result<Option<u32>, Error> {
        let id = metadata.opt_u32(&format!("tokenizer.ggml.{key}"))?;
        match id {
            Some(id) if id as usize >= texts.len() => Err(Error::Vocabulary(format!(
                "`tokenizer.ggml.{key}` is {id}, of {} tokens",
                texts.len()
            ))),
            id => Ok(id),
        }
    };
    let (bos, eos) = (id("bos_token_id")?, id("eos_token_id")?);
    let named = [eos, id("eot_token_id")?, id("eom_token_id")?];
    let ids = SpecialIds {
        bos,
        eos,
        end_of_generation: end_of_generation(&named, &texts),
        add_bos: bos.is_some()
            && metadata
                .opt_bool("tokenizer.ggml.add_bos_token")?
                .unwrap_or(add_bos),
    };
    let template = metadata
        .opt_str("tokenizer.chat_template")?
        .map(str::to_owned);
    Ok(Tokenizer {
        model,
        special,
        vocabulary: Vocabulary::Owned {
            pieces: pieces.collect(),
            texts,
        },
        ids,
        kind: name,
        chat_template: template,
    })
}

/// A model, the bytes of its tokens, its name for people, and whether it begins texts with BOS by
/// default.
type Parts = (Model, Vec<Vec<u8>>, String, bool);

fn byte_level(gguf: &Gguf, texts: &[String], kinds: &[i32]) -> Result<Parts, Error> {
    let metadata = gguf.metadata();
    let pre = metadata
        .opt_str(PRE)?
        .unwrap_or_else(|| pre_by_vocabulary(gguf, texts.len()));
    let named = PreTokenizer::named(pre)?;
    let pieces: Vec<Vec<u8>> = texts
        .iter()
        .zip(kinds)
        .map(|(text, kind)| {
            if *kind == kind::NORMAL {
                decode_byte_alphabet(text)
            } else {
                text.as_bytes().to_vec()
            }
        })
        .collect();
    let mut ids = Map::with_capacity_and_hasher(pieces.len(), Default::default());
    for (id, bytes) in pieces.iter().enumerate() {
        if kinds[id] == kind::NORMAL {
            ids.entry(bytes.as_slice().into()).or_insert(id as u32);
        }
    }
    let mut listed: Map<Box<[u8]>, Vec<(u32, u32)>> = Map::default();
    for (rank, merge) in metadata.str_array("tokenizer.ggml.merges")?.enumerate() {
        let merge = merge?;
        // The first character may be a space itself.
        let at = merge
            .char_indices()
            .skip(1)
            .find(|(_, c)| *c == ' ')
            .map(|(at, _)| at);
        let at = at.ok_or_else(|| {
            Error::Vocabulary(format!("merge {rank}, {merge:?}, has no two parts"))
        })?;
        let (left, right) = (
            decode_byte_alphabet(&merge[..at]),
            decode_byte_alphabet(&merge[at + 1..]),
        );
        let bytes = [left.as_slice(), &right].concat().into();
        listed
            .entry(bytes)
            .or_default()
            .push((left.len() as u32, rank as u32));
    }
    let bpe = Bpe::new(ids, Merges::Listed(listed), named.whole_words);
    let name = format!("gpt2 byte-level BPE ({pre}), {} tokens", texts.len());
    Ok((
        Model::ByteLevel(ByteLevel {
            bpe: BytePairs::Read(bpe),
            pre: named.rule,
        }),
        pieces,
        name,
        named.add_bos,
    ))
}

/// The rule for a file that names none: Microsoft's b1.58 files leave LLaMA-3's out.
fn pre_by_vocabulary(gguf: &Gguf, tokens: usize) -> &'static str {
    let b158 = matches!(
        gguf.metadata().opt_str("general.architecture"),
        Ok(Some("bitnet-b1.58" | "bitnet-25"))
    );
    if b158 && tokens == LLAMA3_TOKENS {
        "llama-bpe"
    } else {
        "default"
    }
}

fn sentencepiece(metadata: &Metadata, texts: &[String], kinds: &[i32]) -> Result<Parts, Error> {
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
    let pieces = texts
        .iter()
        .zip(kinds)
        .map(|(text, _)| match byte_token(text) {
            Some(byte) => vec![byte],
            None => text.replace(SPACE, " ").into_bytes(),
        });
    let pieces = pieces.collect();
    let name = format!("llama SentencePiece BPE, {} tokens", texts.len());
    Ok((
        Model::SentencePiece(SentencePiece::new(texts, scores, add_space_prefix)?),
        pieces,
        name,
        true,
    ))
}
