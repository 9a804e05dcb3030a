//! [`Vocabulary`]: what each id stands for.

use bpe::byte_pair_encoding::BytePairEncoding;

/// The tokens of a tokenizer, by id.
pub(crate) enum Vocabulary {
    /// Read from a file.
    Owned {
        /// The bytes that each token adds to a text; none for special ones.
        pieces: Vec<Vec<u8>>,
        /// Each token as the file spells it.
        texts: Vec<String>,
    },
    /// Built into the program, with special tokens behind the others.
    Embedded {
        bpe: &'static BytePairEncoding,
        special: &'static [(&'static str, u32)],
    },
}

impl Vocabulary {
    /// Ids that there are, gaps included.
    pub(crate) fn len(&self) -> usize {
        match self {
            Vocabulary::Owned { pieces, .. } => pieces.len(),
            Vocabulary::Embedded { bpe, special } => {
                let last = special.iter().map(|(_, id)| *id as usize + 1).max();
                last.unwrap_or(0).max(bpe.num_tokens())
            }
        }
    }

    /// The bytes that a token adds to a text: none for special ones and ids that are not there.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        match self {
            Vocabulary::Owned { pieces, .. } => pieces.get(id as usize).map_or(&[], Vec::as_slice),
            Vocabulary::Embedded { bpe, .. } if (id as usize) < bpe.num_tokens() => {
                bpe.token_bytes(id)
            }
            Vocabulary::Embedded { .. } => &[],
        }
    }

    /// A token as its vocabulary spells it; none where that is no text.
    pub(crate) fn text(&self, id: u32) -> Option<&str> {
        match self {
            Vocabulary::Owned { texts, .. } => texts.get(id as usize).map(String::as_str),
            Vocabulary::Embedded { special, .. } => match self.bytes(id) {
                [] => special
                    .iter()
                    .find(|(_, at)| *at == id)
                    .map(|(text, _)| *text),
                bytes => std::str::from_utf8(bytes).ok(),
            },
        }
    }
}
