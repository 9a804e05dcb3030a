//! [`TokenSet`]: some of the tokens of a vocabulary.

use std::ops::Range;

/// Some of the tokens of a vocabulary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    words: Vec<u32>,
    len: usize,
}

impl TokenSet {
    /// Those whose bit is set: bit `id % 32` of word `id / 32`.
    pub fn of_bits(words: Vec<u32>) -> TokenSet {
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        TokenSet { words, len }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a token is one of them.
    pub fn contains(&self, id: u32) -> bool {
        let word = self.words.get(id as usize / 32);
        word.is_some_and(|word| word >> (id % 32) & 1 == 1)
    }

    /// How many tokens of `ids` are among them.
    pub fn count(&self, ids: Range<u32>) -> usize {
        let words = ids.start as usize / 32..self.words.len().min(ids.end.div_ceil(32) as usize);
        let words = (words.start as u32..).zip(self.words.get(words).unwrap_or_default());
        let count = words.map(|(at, word)| {
            // The bits of the word that stand for tokens from the first on, and up to the last.
            let from = u32::MAX << ids.start.saturating_sub(at * 32).min(31);
            let until = u32::MAX >> (at * 32 + 32).saturating_sub(ids.end).min(31);
            (word & from & until).count_ones() as usize
        });
        count.sum()
    }

    /// Adds a token.
    pub fn insert(&mut self, id: u32) {
        let word = id as usize / 32;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.len += usize::from(!self.contains(id));
        self.words[word] |= 1 << (id % 32);
    }

    /// Takes a token out.
    pub fn remove(&mut self, id: u32) {
        self.len -= usize::from(self.contains(id));
        if let Some(word) = self.words.get_mut(id as usize / 32) {
            *word &= !(1 << (id % 32));
        }
    }

    /// Their ids, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0_u32..).zip(&self.words).flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 32).then_some(at * 32 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_and_go() {
        let mut set = TokenSet::of_bits(vec![0b101, 0, 1 << 31]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 2, 95]);
        set.insert(200);
        set.insert(2);
        set.remove(0);
        set.remove(9);
        set.remove(9999);
        assert_eq!(set.iter().collect::<Vec<_>>(), [2, 95, 200]);
        assert_eq!((set.len(), set.is_empty()), (3, false));
        assert!(set.contains(200) && !set.contains(0) && !set.contains(9999));
    }

    #[test]
    fn tokens_of_a_range_are_counted() {
        let mut set = TokenSet::default();
        (0..300)
            .filter(|id| id % 3 == 0)
            .for_each(|id| set.insert(id));
        for start in 0..330 {
            for end in start..330 {
                let count = (start..end).filter(|id| set.contains(*id)).count();
                assert_eq!(set.count(start..end), count, "{start}..{end}");
            }
        }
        assert_eq!(set.count(u32::MAX - 1..u32::MAX), 0);
    }
}
