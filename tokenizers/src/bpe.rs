//! Byte-level byte-pair encoding of one word.
//!
//! Neighbours merge in the order of their ranks, the leftmost first among equals. A heap of candidates keeps the
//! worst case at `n log n` for a word of `n` bytes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Which neighbours merge, and when.
#[derive(Debug)]
pub(crate) enum Merges {
    /// By the merged bytes: lengths of the left part that may merge into them, each with its rank.
    Listed(HashMap<Box<[u8]>, Vec<(u32, u32)>>),
    /// Any two whose bytes together are a token, its id being the rank.
    Vocabulary,
}

/// A byte-pair vocabulary.
#[derive(Debug)]
pub(crate) struct Bpe {
    /// Ids of tokens by their bytes.
    pub(crate) ids: HashMap<Box<[u8]>, u32>,
    pub(crate) merges: Merges,
    /// Whether a word that is a token needs no merges.
    pub(crate) whole_words: bool,
    longest: usize,
}

/// A piece of the word that is still to merge; an absorbed one has length 0.
#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    len: usize,
    prev: usize,
    next: usize,
}

const NONE: usize = usize::MAX;

impl Bpe {
    pub(crate) fn new(ids: HashMap<Box<[u8]>, u32>, merges: Merges, whole_words: bool) -> Bpe {
        let longest = match &merges {
            Merges::Listed(listed) => listed.keys().map(|bytes| bytes.len()).max(),
            Merges::Vocabulary => ids.keys().map(|bytes| bytes.len()).max(),
        };
        Bpe {
            ids,
            merges,
            whole_words,
            longest: longest.unwrap_or(0),
        }
    }

    fn rank(&self, word: &[u8], left: Piece, right: Piece) -> Option<u32> {
        let len = left.len + right.len;
        if len > self.longest {
            return None;
        }
        let bytes = &word[left.start..left.start + len];
        match &self.merges {
            Merges::Vocabulary => self.ids.get(bytes).copied(),
            Merges::Listed(listed) => {
                let splits = listed.get(bytes)?;
                splits
                    .iter()
                    .find(|(split, _)| *split as usize == left.len)
                    .map(|(_, rank)| *rank)
            }
        }
    }

    /// Appends the ids of a word. Bytes that no token stands for are left out, as the references do.
    pub(crate) fn encode(&self, word: &[u8], out: &mut Vec<u32>) {
        if self.whole_words
            && let Some(id) = self.ids.get(word)
        {
            out.push(*id);
            return;
        }
        let mut pieces: Vec<Piece> = (0..word.len())
            .map(|i| Piece {
                start: i,
                len: 1,
                prev: i.wrapping_sub(1),
                next: i + 1,
            })
            .collect();
        if let Some(last) = pieces.last_mut() {
            last.next = NONE;
        }
        // (rank, left, lengths when the candidate was found): outdated ones are told by their lengths.
        let mut heap = BinaryHeap::new();
        let consider = |pieces: &[Piece], heap: &mut BinaryHeap<_>, left: usize| {
            if left == NONE || pieces[left].next == NONE {
                return;
            }
            let (a, b) = (pieces[left], pieces[pieces[left].next]);
            if let Some(rank) = self.rank(word, a, b) {
                heap.push(Reverse((rank, left, a.len, b.len)));
            }
        };
        for left in 0..pieces.len() {
            consider(&pieces, &mut heap, left);
        }
        while let Some(Reverse((_, left, left_len, right_len))) = heap.pop() {
            let right = pieces[left].next;
            if pieces[left].len != left_len || right == NONE || pieces[right].len != right_len {
                continue;
            }
            pieces[left].len += right_len;
            pieces[left].next = pieces[right].next;
            pieces[right].len = 0;
            if pieces[left].next != NONE {
                let next = pieces[left].next;
                pieces[next].prev = left;
            }
            consider(&pieces, &mut heap, pieces[left].prev);
            consider(&pieces, &mut heap, left);
        }
        for piece in pieces.iter().filter(|piece| piece.len > 0) {
            let bytes = &word[piece.start..piece.start + piece.len];
            match self.ids.get(bytes) {
                Some(id) => out.push(*id),
                None => out.extend(
                    bytes
                        .iter()
                        .filter_map(|byte| self.ids.get(std::slice::from_ref(byte))),
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bpe(tokens: &[&str], merges: &[(&str, &str)], whole_words: bool) -> Bpe {
        let ids = tokens
            .iter()
            .enumerate()
            .map(|(id, token)| (token.as_bytes().into(), id as u32))
            .collect();
        let mut listed: HashMap<Box<[u8]>, Vec<(u32, u32)>> = HashMap::new();
        for (rank, (left, right)) in merges.iter().enumerate() {
            let bytes = [left.as_bytes(), right.as_bytes()].concat().into();
            listed
                .entry(bytes)
                .or_default()
                .push((left.len() as u32, rank as u32));
        }
        Bpe::new(ids, Merges::Listed(listed), whole_words)
    }

    fn encode(bpe: &Bpe, word: &str) -> Vec<u32> {
        let mut out = Vec::new();
        bpe.encode(word.as_bytes(), &mut out);
        out
    }

    #[test]
    fn lower_ranks_merge_first_and_the_leftmost_among_equals() {
        let bpe = bpe(
            &["a", "b", "ab", "aa", "aab"],
            &[("a", "a"), ("a", "b"), ("aa", "b")],
            false,
        );
        assert_eq!(encode(&bpe, "aab"), [4]);
        assert_eq!(encode(&bpe, "aaab"), [3, 2]);
        assert_eq!(encode(&bpe, "aaa"), [3, 0]);
        assert_eq!(encode(&bpe, "azb"), [0, 1]);
    }

    #[test]
    fn a_whole_word_needs_no_merges_where_the_vocabulary_says_so() {
        let merges = [("a", "b")];
        assert_eq!(
            encode(&bpe(&["a", "b", "ab", "aba"], &merges, true), "aba"),
            [3]
        );
        assert_eq!(
            encode(&bpe(&["a", "b", "ab", "aba"], &merges, false), "aba"),
            [2, 0]
        );
    }
}
