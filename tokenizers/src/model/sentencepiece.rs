//! SentencePiece byte-pair encoding (`llama` vocabularies): the pair whose token scores best merges
//! first.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap};

use crate::Error;

/// What SentencePiece writes for a space.
pub(crate) const SPACE: &str = "\u{2581}";

/// A SentencePiece vocabulary.
#[derive(Debug)]
pub(crate) struct SentencePiece {
    ids: HashMap<Box<str>, u32>,
    scores: Vec<f32>,
    /// Tokens of the single bytes.
    bytes: Vec<u32>,
    /// Whether a text begins with a space.
    pub(crate) add_space_prefix: bool,
}

#[derive(Clone, Copy)]
struct Piece {
    start: usize,
    len: usize,
    prev: usize,
    next: usize,
}

/// Two neighbours that may merge. Ordered by score, then the leftmost first.
struct Candidate {
    score: f32,
    left: usize,
    right: usize,
    len: usize,
}

const NONE: usize = usize::MAX;

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.left.cmp(&self.left))
    }
}
impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Candidate {}

/// The byte that a token like `<0x0A>` stands for.
pub(crate) fn byte_token(text: &str) -> Option<u8> {
    let hex = text.strip_prefix("<0x")?.strip_suffix('>')?;
    if hex.len() == 2 {
        u8::from_str_radix(hex, 16).ok()
    } else {
        None
    }
}

impl SentencePiece {
    /// From the tokens as the file spells them, whether each may come out of text, and their
    /// scores.
    ///
    /// # Errors
    /// [`Error::Vocabulary`] where bytes are missing that unknown characters fall back to.
    pub(crate) fn new(
        texts: &[String],
        written: &[bool],
        scores: Vec<f32>,
        add_space_prefix: bool,
    ) -> Result<SentencePiece, Error> {
        let mut ids = HashMap::with_capacity(texts.len());
        let mut bytes: Vec<Option<u32>> = vec![None; 256];
        for (id, text) in texts.iter().enumerate() {
            if written[id] {
                ids.entry(text.as_str().into()).or_insert(id as u32);
            }
            if let Some(byte) = byte_token(text) {
                bytes[usize::from(byte)].get_or_insert(id as u32);
            }
        }
        // Where there is no token `<0xXX>`, the plain character may serve.
        let plain = |byte: usize| {
            ids.get(char::from(byte as u8).to_string().as_str())
                .copied()
        };
        let bytes: Option<Vec<u32>> = bytes
            .into_iter()
            .enumerate()
            .map(|(byte, id)| id.or_else(|| plain(byte)))
            .collect();
        let bytes = bytes.ok_or_else(|| {
            Error::Vocabulary("it has no tokens for some single bytes".to_owned())
        })?;
        Ok(SentencePiece {
            ids,
            scores,
            bytes,
            add_space_prefix,
        })
    }

    /// Appends the ids of a piece of text. `first` says that it begins the text or follows a
    /// special token.
    pub(crate) fn encode(&self, text: &str, first: bool, out: &mut Vec<u32>) {
        if text.is_empty() {
            return;
        }
        let prefix = if first && self.add_space_prefix {
            " "
        } else {
            ""
        };
        let text = format!("{prefix}{text}").replace(' ', SPACE);
        let mut pieces: Vec<Piece> = text
            .char_indices()
            .enumerate()
            .map(|(i, (start, c))| Piece {
                start,
                len: c.len_utf8(),
                prev: i.wrapping_sub(1),
                next: i + 1,
            })
            .collect();
        if let Some(last) = pieces.last_mut() {
            last.next = NONE;
        }
        let mut heap = BinaryHeap::new();
        let consider = |pieces: &[Piece], heap: &mut BinaryHeap<Candidate>, left: usize| {
            if left == NONE || pieces[left].next == NONE {
                return;
            }
            let right = pieces[left].next;
            let len = pieces[left].len + pieces[right].len;
            let start = pieces[left].start;
            if let Some(id) = self.ids.get(&text[start..start + len]) {
                heap.push(Candidate {
                    score: self.scores[*id as usize],
                    left,
                    right,
                    len,
                });
            }
        };
        for left in 0..pieces.len() {
            consider(&pieces, &mut heap, left);
        }
        while let Some(Candidate {
            left, right, len, ..
        }) = heap.pop()
        {
            let outdated = pieces[left].len == 0 || pieces[right].len == 0;
            if outdated || pieces[left].len + pieces[right].len != len {
                continue;
            }
            pieces[left].len = len;
            pieces[right].len = 0;
            pieces[left].next = pieces[right].next;
            if pieces[left].next != NONE {
                let next = pieces[left].next;
                pieces[next].prev = left;
            }
            consider(&pieces, &mut heap, pieces[left].prev);
            consider(&pieces, &mut heap, left);
        }
        for piece in pieces.iter().filter(|piece| piece.len > 0) {
            let piece = &text[piece.start..piece.start + piece.len];
            match self.ids.get(piece) {
                Some(id) => out.push(*id),
                None => out.extend(piece.bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
        }
    }
}
