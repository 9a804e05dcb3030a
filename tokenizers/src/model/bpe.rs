//! Byte-level byte-pair encoding of one word.
//!
//! Neighbours merge in the order of their ranks, the leftmost first among equals. Short words look
//! for the next merge among all pairs; long ones keep the pairs in a bucket per rank, so that the
//! time grows with the length of the word and no faster.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::FixedState;

/// A map with a quick hash. What is looked up are bytes of words against a fixed vocabulary, so
/// that nobody gains by making keys collide.
pub(crate) type Map<K, V> = HashMap<K, V, FixedState>;

/// A token, or a string that only merges go through, and how it merges out of two parts.
#[derive(Debug, Clone, Copy)]
struct Piece {
    /// [`NEVER`] where no token is spelled so.
    id: u32,
    /// The first of its merges, in [`Bpe::merges`]; [`NEVER`] where there is none.
    merge: u32,
}

/// A way to merge two neighbours into a piece.
#[derive(Debug)]
struct Merge {
    /// Bytes of the left one.
    left: u32,
    rank: u32,
    /// The next of the same piece, or [`NEVER`].
    next: u32,
}

/// A byte-pair vocabulary.
#[derive(Debug)]
pub(crate) struct Bpe {
    /// By their bytes.
    pieces: Map<Box<[u8]>, Piece>,
    /// None where any two neighbours merge whose bytes together are a token, its id being the rank.
    merges: Option<Vec<Merge>>,
    /// Whether a word that is a token needs no merges.
    whole_words: bool,
    longest: usize,
}

/// No pair, or none that merges.
const NEVER: u32 = u32::MAX;

/// Words of up to so many bytes look through all pairs for the next merge.
const SHORT: usize = 48;

impl Bpe {
    /// A vocabulary whose ids are the ranks of its merges.
    pub(crate) fn ranked(tokens: impl Iterator<Item = (Box<[u8]>, u32)>, whole_words: bool) -> Bpe {
        Bpe {
            merges: None,
            ..Bpe::listed(tokens, whole_words)
        }
    }

    /// A vocabulary whose merges are still to be added. Of tokens that are spelled alike, the first
    /// counts.
    pub(crate) fn listed(tokens: impl Iterator<Item = (Box<[u8]>, u32)>, whole_words: bool) -> Bpe {
        let mut pieces = Map::with_capacity_and_hasher(tokens.size_hint().0, Default::default());
        let mut longest = 0;
        for (bytes, id) in tokens {
            longest = longest.max(bytes.len());
            pieces.entry(bytes).or_insert(Piece { id, merge: NEVER });
        }
        Bpe {
            pieces,
            merges: Some(Vec::new()),
            whole_words,
            longest,
        }
    }

    /// Strings that are tokens or made of merges.
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Adds the next merge, of the first `left` bytes with the rest. One that is there already
    /// stays as it is. Whether it is new and makes a token.
    pub(crate) fn add_merge(&mut self, bytes: &[u8], left: usize) -> bool {
        let merges = self.merges.get_or_insert_default();
        let merge = merges.len() as u32;
        let mut new = Merge {
            left: left as u32,
            rank: merge,
            next: NEVER,
        };
        self.longest = self.longest.max(bytes.len());
        let Some(piece) = self.pieces.get_mut(bytes) else {
            merges.push(new);
            self.pieces.insert(bytes.into(), Piece { id: NEVER, merge });
            return false;
        };
        new.next = piece.merge;
        if chain(merges, piece.merge).any(|other| other.left == new.left) {
            // Its rank stays taken.
            merges.push(new);
            return false;
        }
        merges.push(new);
        piece.merge = merge;
        piece.id != NEVER
    }

    /// The id of the token that is spelled so.
    pub(crate) fn id(&self, bytes: &[u8]) -> Option<u32> {
        let piece = self.pieces.get(bytes);
        piece.map(|piece| piece.id).filter(|id| *id != NEVER)
    }

    /// The rank of merging `word[start..middle]` with `word[middle..end]`.
    fn rank(&self, word: &[u8], start: usize, middle: usize, end: usize) -> u32 {
        if end - start > self.longest {
            return NEVER;
        }
        let Some(piece) = self.pieces.get(&word[start..end]) else {
            return NEVER;
        };
        let Some(merges) = &self.merges else {
            return piece.id;
        };
        let left = (middle - start) as u32;
        let found = chain(merges, piece.merge).find(|merge| merge.left == left);
        found.map_or(NEVER, |merge| merge.rank)
    }

    /// Appends the ids of a word. Bytes that no token stands for are left out, as the references
    /// do.
    pub(crate) fn encode(&self, word: &[u8], out: &mut Vec<u32>) {
        if self.whole_words
            && let Some(id) = self.id(word)
        {
            out.push(id);
            return;
        }
        let piece = |bytes: &[u8], out: &mut Vec<u32>| match self.id(bytes) {
            Some(id) => out.push(id),
            None => out.extend(
                bytes
                    .iter()
                    .filter_map(|byte| self.id(std::slice::from_ref(byte))),
            ),
        };
        if word.len() <= SHORT {
            for bounds in self.merge_short(word).windows(2) {
                piece(&word[bounds[0].into()..bounds[1].into()], out);
            }
        } else {
            let mut start = 0;
            for len in self.merge_long(word).into_iter().filter(|len| *len > 0) {
                piece(&word[start..start + len as usize], out);
                start += len as usize;
            }
        }
    }

    /// Where the pieces of a word begin, and its end.
    fn merge_short(&self, word: &[u8]) -> Vec<u8> {
        let mut starts: Vec<u8> = (0..=word.len() as u8).collect();
        let at = |starts: &[u8], i: usize| -> u32 {
            match starts.get(i..i + 3) {
                Some(&[a, b, c]) => self.rank(word, a.into(), b.into(), c.into()),
                _ => NEVER,
            }
        };
        let mut ranks: Vec<u32> = (0..starts.len()).map(|i| at(&starts, i)).collect();
        loop {
            // The first of the smallest.
            let best = ranks.iter().enumerate().min_by_key(|(_, rank)| **rank);
            match best {
                Some((i, rank)) if *rank != NEVER => {
                    starts.remove(i + 1);
                    ranks.remove(i + 1);
                    ranks[i] = at(&starts, i);
                    if i > 0 {
                        ranks[i - 1] = at(&starts, i - 1);
                    }
                }
                _ => return starts,
            }
        }
    }

    /// The length of the piece that begins at each byte of a word; 0 within pieces.
    fn merge_long(&self, word: &[u8]) -> Vec<u32> {
        let mut pieces = Pieces {
            bpe: self,
            word,
            len: vec![1; word.len()],
            previous: (0..word.len() as u32).map(|i| i.wrapping_sub(1)).collect(),
            buckets: BTreeMap::new(),
        };
        for left in 0..word.len() as u32 {
            pieces.consider(left);
        }
        while let Some((rank, mut bucket)) = pieces.buckets.pop_first() {
            // Runs in order, for the most part.
            bucket.sort();
            let mut pairs = bucket.into_iter();
            while let Some(pair) = pairs.next() {
                pieces.merge(pair);
                let sooner = pieces.buckets.first_key_value();
                if sooner.is_some_and(|(other, _)| *other < rank) {
                    pieces.buckets.entry(rank).or_default().extend(pairs);
                    break;
                }
            }
        }
        pieces.len
    }
}

/// The merges of a piece.
fn chain(merges: &[Merge], first: u32) -> impl Iterator<Item = &Merge> {
    let at = |at: u32| merges.get(at as usize);
    std::iter::successors(at(first), move |merge| at(merge.next))
}

/// Two neighbours that may merge: where they begin and how long they were when that was found.
/// Pairs that are no more are told by their lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    left: u32,
    left_len: u32,
    right_len: u32,
}

/// A long word while it merges.
struct Pieces<'a> {
    bpe: &'a Bpe,
    word: &'a [u8],
    /// By first byte; 0 within a piece.
    len: Vec<u32>,
    /// By first byte: the first byte of the piece before, which wraps around before the first.
    previous: Vec<u32>,
    buckets: BTreeMap<u32, Vec<Pair>>,
}

impl Pieces<'_> {
    /// Keeps the pair that begins at `left`, if it may merge.
    fn consider(&mut self, left: u32) {
        let Some(&left_len) = self.len.get(left as usize) else {
            return;
        };
        let right = left + left_len;
        let Some(&right_len) = self.len.get(right as usize) else {
            return;
        };
        let (start, middle) = (left as usize, right as usize);
        let rank = self
            .bpe
            .rank(self.word, start, middle, middle + right_len as usize);
        if rank != NEVER {
            self.buckets.entry(rank).or_default().push(Pair {
                left,
                left_len,
                right_len,
            });
        }
    }

    /// Makes one piece of a pair, unless it is no more.
    fn merge(&mut self, pair: Pair) {
        let (left, right) = (pair.left, pair.left + pair.left_len);
        if self.len[left as usize] != pair.left_len || self.len[right as usize] != pair.right_len {
            return;
        }
        let len = pair.left_len + pair.right_len;
        self.len[left as usize] = len;
        self.len[right as usize] = 0;
        if let Some(previous) = self.previous.get_mut((left + len) as usize) {
            *previous = left;
        }
        self.consider(self.previous[left as usize]);
        self.consider(left);
    }
}

#[cfg(test)]
mod tests {
    use bitnet_fixtures::Noise;

    use super::*;

    fn bpe(tokens: &[&str], merges: &[(&str, &str)], whole_words: bool) -> Bpe {
        let ids = tokens.iter().zip(0..);
        let ids = ids.map(|(token, id)| (token.as_bytes().into(), id));
        let mut bpe = Bpe::listed(ids, whole_words);
        for (left, right) in merges {
            bpe.add_merge(
                [left.as_bytes(), right.as_bytes()].concat().as_slice(),
                left.len(),
            );
        }
        bpe
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

    /// Words from the letters `a` to `d`, under merges that overlap in every way.
    #[test]
    fn long_words_merge_as_short_ones() {
        let mut noise = Noise::new(7);
        let mut random = move |below: usize| noise.below(below as u32) as usize;
        for round in 0..300 {
            let mut tokens: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
            let mut merges = Vec::new();
            for _ in 0..12 {
                let pair = [0, 1].map(|_| tokens[random(tokens.len())].clone());
                if !tokens.contains(&pair.concat()) {
                    tokens.push(pair.concat());
                    merges.push(pair);
                }
            }
            // Also orders in which no training would have found them.
            if round % 2 == 1 {
                for i in 0..merges.len() {
                    let other = random(merges.len());
                    merges.swap(i, other);
                }
            }
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            let merges: Vec<(&str, &str)> = merges.iter().map(|[a, b]| (&a[..], &b[..])).collect();
            for merges in [Some(merges), None] {
                let bpe = match merges {
                    Some(merges) => bpe(&tokens, &merges, false),
                    None => Bpe {
                        merges: None,
                        ..bpe(&tokens, &[("a", "b")], false)
                    },
                };
                let bpe = Bpe { longest: 64, ..bpe };
                for _ in 0..20 {
                    let len = 1 + random(40);
                    let word: Vec<u8> = (0..len).map(|_| b"abcd"[random(4)]).collect();
                    let starts = bpe.merge_short(&word);
                    let short: Vec<u8> = starts.windows(2).map(|b| b[1] - b[0]).collect();
                    let long = bpe.merge_long(&word);
                    let long: Vec<u8> = long.iter().map(|l| *l as u8).filter(|l| *l > 0).collect();
                    assert_eq!(short, long, "{word:?}");
                }
            }
        }
    }
}
