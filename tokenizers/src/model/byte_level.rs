//! Byte-level byte-pair encoding (`gpt2` vocabularies): words first, then byte pairs within each.

use bpe::byte_pair_encoding::BytePairEncoding;

use super::bpe::Bpe;
use crate::Error;
use crate::pre_tokenizer::PreTokenizer;

/// Byte pairs within words.
pub(crate) struct ByteLevel {
    pub(crate) bpe: BytePairs,
    pub(crate) pre: PreTokenizer,
}

/// Who merges byte pairs.
pub(crate) enum BytePairs {
    /// Ours, by a vocabulary that was read.
    Read(Bpe),
    /// A vocabulary built into the program.
    Embedded(&'static BytePairEncoding),
}

impl ByteLevel {
    /// Appends the ids of a text.
    pub(crate) fn encode(&self, text: &str, out: &mut Vec<u32>) -> Result<(), Error> {
        for word in self.pre.split(text)? {
            self.bpe.encode(&text.as_bytes()[word], out);
        }
        Ok(())
    }
}

impl BytePairs {
    /// Appends the ids of a word.
    fn encode(&self, word: &[u8], out: &mut Vec<u32>) {
        match self {
            BytePairs::Read(bpe) => bpe.encode(word, out),
            BytePairs::Embedded(bpe) => out.extend(bpe.encode_via_backtracking(word)),
        }
    }
}
