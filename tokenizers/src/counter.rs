//! [`Counter`]: how many tokens texts have, without making the tokens.

use crate::model::{ByteLevel, BytePairs, Model};
use crate::{Encode, Error, Special, Tokenizer};

/// Bytes of a word that the cache takes.
const CACHED: usize = 15;

/// Words that the cache holds: half a megabyte, which stays in a core's second cache.
const SLOTS: usize = 1 << 15;

/// Counts the tokens of texts. Remembers short words, so that one that has come before costs a
/// look.
pub struct Counter<'a> {
    tokenizer: &'a Tokenizer,
    /// The bytes of a word, its length (1 to 15) in the low half of the last byte, and its tokens
    /// less one in the high half; 0 where there is none.
    cache: Box<[u128]>,
    ids: Vec<u32>,
}

/// The bits of an entry that hold the tokens.
const COUNT: u128 = 0xf << 124;

impl Tokenizer {
    /// Counts tokens without making them.
    pub fn counter(&self) -> Counter<'_> {
        Counter::new(self)
    }
}

impl<'a> Counter<'a> {
    /// A counter for texts of this tokenizer.
    pub fn new(tokenizer: &'a Tokenizer) -> Counter<'a> {
        let slots = match tokenizer.model {
            Model::ByteLevel(_) => SLOTS,
            _ => 0,
        };
        Counter {
            tokenizer,
            cache: vec![0; slots].into(),
            ids: Vec::new(),
        }
    }

    /// The number of tokens that [`Tokenizer::encode`] gives.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn count(&mut self, text: &str, options: Encode) -> Result<usize, Error> {
        let tokenizer = self.tokenizer;
        let parse = options.special == Special::Parse;
        let Model::ByteLevel(ByteLevel { bpe, pre }) = &tokenizer.model else {
            return Ok(tokenizer.encode(text, options)?.len());
        };
        if tokenizer.special.any(parse) {
            return Ok(tokenizer.encode(text, options)?.len());
        }
        let mut count = usize::from(options.bos && tokenizer.bos().is_some());
        let bytes = text.as_bytes();
        for word in pre.split(text)? {
            count += match word.len() {
                ..=CACHED => self.remembered(bpe, bytes, word.start, word.end),
                _ => count_word(bpe, &bytes[word], &mut self.ids),
            };
        }
        Ok(count)
    }

    #[inline]
    fn remembered(&mut self, bpe: &BytePairs, text: &[u8], start: usize, end: usize) -> usize {
        let len = end - start;
        let key = match text.get(start..start + 16) {
            Some(sixteen) => {
                let sixteen = u128::from_le_bytes(sixteen.try_into().expect("sixteen bytes"));
                sixteen & (u128::MAX >> (128 - 8 * len))
            }
            None => {
                let mut padded = [0; 16];
                padded[..len].copy_from_slice(&text[start..end]);
                u128::from_le_bytes(padded)
            }
        } | (len as u128) << 120;
        let mixed =
            (key as u64 ^ ((key >> 64) as u64).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = &mut self.cache[(mixed >> 49) as usize];
        if *slot & !COUNT == key {
            return (*slot >> 124) as usize + 1;
        }
        let count = count_word(bpe, &text[start..end], &mut self.ids);
        // A vocabulary without some bytes may leave a word without tokens.
        if count > 0 {
            *slot = key | (count as u128 - 1) << 124;
        }
        count
    }
}

fn count_word(bpe: &BytePairs, word: &[u8], ids: &mut Vec<u32>) -> usize {
    match bpe {
        BytePairs::Read(bpe) => {
            ids.clear();
            bpe.encode(word, ids);
            ids.len()
        }
        BytePairs::Embedded(bpe) => bpe.count(word),
    }
}
