//! LLaMA-3's `tokenizer.model`: a line per token, its bytes in base64 and its rank.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::model::{Bpe, ByteLevel, BytePairs, Map, Model};
use crate::pre_tokenizer::PreTokenizer;
use crate::tokenizer::Tokenizer;
use crate::vocabulary::{SpecialIds, SpecialTokens, Vocabulary, end_of_generation};

/// Tokens of LLaMA-3's vocabulary, special ones included.
pub const LLAMA3_TOKENS: usize = 128_256;

/// The id of its `<|begin_of_text|>`.
pub(super) const LLAMA3_BOS: u32 = 128_000;

/// Whether a vocabulary is LLaMA-3's, or LLaMA-3's with tokens behind it, whatever architecture it
/// is found under.
pub(super) fn is_llama3(texts: &[String]) -> bool {
    let named = |id: usize, name: &str| texts.get(id).is_some_and(|text| text == name);
    texts.len() >= LLAMA3_TOKENS
        && named(LLAMA3_BOS as usize, "<|begin_of_text|>")
        && named(LLAMA3_BOS as usize + 1, "<|end_of_text|>")
}

/// Special tokens behind the ranks.
const SPECIAL: usize = 256;

/// Whether the first line looks like such a file.
pub(super) fn recognises(content: &[u8]) -> bool {
    content
        .split(|byte| *byte == b'\n')
        .next()
        .is_some_and(|line| parse(line).is_some())
}

fn parse(line: &[u8]) -> Option<(Vec<u8>, u32)> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    let (bytes, rank) = line.split_once(' ')?;
    Some((STANDARD.decode(bytes).ok()?, rank.parse().ok()?))
}

/// Reads the content of such a file.
pub(super) fn read(content: &[u8]) -> Result<Tokenizer, String> {
    let (ids, special) = parts(content)?;
    let base = ids.len();
    let mut pieces = vec![Vec::new(); base + special.len()];
    for (bytes, id) in &ids {
        pieces[*id as usize] = bytes.to_vec();
    }
    let mut texts: Vec<String> = pieces
        .iter()
        .map(|piece| String::from_utf8_lossy(piece).into_owned())
        .collect();
    for (text, id) in &special {
        texts[*id as usize].clone_from(text);
    }
    let bpe = Bpe::ranked(ids.into_iter(), true);
    let id = |name: &str| {
        let found = special.iter().find(|(text, _)| text == name);
        found.map(|(_, id)| *id)
    };
    let special_texts: Vec<String> = special.iter().map(|(text, _)| text.clone()).collect();
    let end = end_of_generation(&[], &special_texts)
        .into_iter()
        .map(|id| id + base as u32)
        .collect();
    let ids = SpecialIds {
        bos: id("<|begin_of_text|>"),
        eos: id("<|end_of_text|>"),
        end_of_generation: end,
        add_bos: true,
    };
    let special = special.into_iter().map(|(text, id)| (text, id, false));
    Ok(Tokenizer {
        model: Model::ByteLevel(ByteLevel {
            bpe: BytePairs::Read(bpe),
            pre: PreTokenizer::llama3(),
        }),
        special: SpecialTokens::new(special.collect()),
        ids,
        kind: format!("LLaMA-3 tokenizer.model, {} tokens", pieces.len()),
        vocabulary: Vocabulary::Owned { pieces, texts },
        warnings: Vec::new(),
    })
}

/// Ids of the tokens by their bytes, and the texts of the special tokens with their ids.
type Parts = (Map<Box<[u8]>, u32>, Vec<(String, u32)>);

fn parts(content: &[u8]) -> Result<Parts, String> {
    let mut ids: Map<Box<[u8]>, u32> = Map::default();
    let lines = content
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    for (number, line) in lines.enumerate() {
        let (bytes, rank) =
            parse(line).ok_or_else(|| format!("line {} is not `base64 rank`", number + 1))?;
        if rank as usize != number || ids.insert(bytes.into(), rank).is_some() {
            return Err(format!(
                "line {}: rank {rank} is out of order or its token occurs twice",
                number + 1
            ));
        }
    }
    let base = ids.len();
    let special = special_names()
        .enumerate()
        .map(|(i, name)| (name, (base + i) as u32))
        .collect();
    Ok((ids, special))
}

/// The names that LLaMA-3 gives its special tokens, in the order of their ids.
fn special_names() -> impl Iterator<Item = String> {
    const NAMED: [(usize, &str); 5] = [
        (0, "<|begin_of_text|>"),
        (1, "<|end_of_text|>"),
        (6, "<|start_header_id|>"),
        (7, "<|end_header_id|>"),
        (9, "<|eot_id|>"),
    ];
    let mut reserved = 0;
    (0..SPECIAL).map(move |i| match NAMED.iter().find(|(at, _)| *at == i) {
        Some((_, name)) => (*name).to_owned(),
        None => {
            reserved += 1;
            format!("<|reserved_special_token_{}|>", reserved - 1)
        }
    })
}
