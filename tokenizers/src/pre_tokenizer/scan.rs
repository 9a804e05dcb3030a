//! The rules of the large GPT-like vocabularies, by hand: what their regular expressions match,
//! several times as fast.
//!
//! Each function says which alternative of the expression it stands for. The tests hold every rule
//! against its expression on texts of all kinds.

use super::classes::{
    CASELESS, CLASSES, Classes, LETTER, LINE_BREAK, LOWER, MARK, NUMBER, SPACE, UPPER,
};

/// A rule of this family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scan {
    /// What words are made of: [`LETTER`], or [`LETTER`] and [`MARK`].
    letters: u8,
    /// Most digits in a word.
    digits: usize,
    /// Whether English contractions (`'s`, `'re`) are words.
    contractions: bool,
    /// Whether the `s` of a contraction may be a long one (U+017F), as where the expression
    /// ignores case.
    long_s: bool,
    /// Whether white space at the end of a text is one word, line breaks or not.
    trailing_space: bool,
    /// Whether a word ends where lower case meets upper case, contractions belong to the word
    /// before them, and slashes may end punctuation.
    cased: bool,
    /// Whether line breaks behind punctuation belong to it.
    breaks_end_punctuation: bool,
}

/// `cl100k_base`, as tiktoken has it.
pub(super) const CL100K: Scan = Scan {
    letters: LETTER,
    digits: 3,
    contractions: true,
    long_s: true,
    trailing_space: true,
    cased: false,
    breaks_end_punctuation: true,
};

/// `o200k_base`, as tiktoken has it.
pub(super) const O200K: Scan = Scan {
    trailing_space: false,
    cased: true,
    ..CL100K
};

/// LLaMA-3 as its makers have it.
pub(super) const LLAMA3: Scan = Scan {
    trailing_space: false,
    ..CL100K
};

/// LLaMA-3 as llama.cpp has it.
pub(super) const LLAMA3_GGUF: Scan = Scan {
    long_s: false,
    ..LLAMA3
};

/// Qwen 2 as llama.cpp has it.
pub(super) const QWEN2_GGUF: Scan = Scan {
    digits: 1,
    ..LLAMA3_GGUF
};

/// Qwen 3.5.
pub(super) const QWEN35: Scan = Scan {
    letters: LETTER | MARK,
    ..QWEN2_GGUF
};

/// Seed-Coder.
pub(super) const SEED_CODER: Scan = Scan {
    breaks_end_punctuation: false,
    ..QWEN2_GGUF
};

/// Qwen 2 without English contractions.
pub(super) const UFAKZEKA: Scan = Scan {
    contractions: false,
    ..QWEN2_GGUF
};

/// Mistral's Tekken.
pub(super) const TEKKEN: Scan = Scan {
    digits: 1,
    contractions: false,
    ..O200K
};

/// What may stand before the letters of a word: `[^\r\n\p{L}\p{N}]`.
const NO_PREFIX: u8 = LETTER | NUMBER | LINE_BREAK;
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`.
const HIGH: u8 = UPPER | CASELESS | MARK;
/// `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`.
const LOW: u8 = LOWER | CASELESS | MARK;

impl Scan {
    /// Cuts `text` into words, one at a time.
    pub(super) fn words(self, text: &str) -> Words<'_> {
        Words {
            scan: self,
            classes: &CLASSES,
            text: text.as_bytes(),
            end: 0,
        }
    }
}

/// The words of a text: ranges of bytes that follow one another.
pub(crate) struct Words<'a> {
    scan: Scan,
    classes: &'static Classes,
    text: &'a [u8],
    end: usize,
}

impl Iterator for Words<'_> {
    type Item = std::ops::Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let start = self.end;
        if start == self.text.len() {
            return None;
        }
        self.end = self.word(start);
        Some(start..self.end)
    }
}

impl Words<'_> {
    /// The end of the word that begins at `start`.
    #[inline]
    fn word(&self, start: usize) -> usize {
        let (class, len) = self.classes.at(self.text, start);
        let letters = self.scan.letters;
        if !self.scan.cased {
            if class & letters != 0 {
                return self.run(start + len, letters);
            }
            if self.text[start] == b'\''
                && let Some(end) = self.contraction(start)
            {
                return end;
            }
            if class & NO_PREFIX == 0 {
                let (next, next_len) = self.classes.at(self.text, start + len);
                if next & letters != 0 {
                    return self.run(start + len + next_len, letters);
                }
            }
        } else if let Some(end) = self.cased_word(start, class, len) {
            return self.contraction(end).unwrap_or(end);
        }
        if class & NUMBER != 0 {
            return self.number(start + len);
        }
        if class & SPACE == 0 {
            return self.punctuation(start + len);
        }
        if self.text[start] == b' ' {
            let (next, next_len) = self.classes.at(self.text, start + 1);
            if next_len > 0 && next & self.no_punctuation() == 0 {
                return self.punctuation(start + 1 + next_len);
            }
        }
        self.space(start)
    }

    /// What punctuation is not: `[^\s\p{L}\p{N}]`.
    #[inline]
    fn no_punctuation(&self) -> u8 {
        SPACE | NUMBER | self.scan.letters
    }

    /// The end of the characters of these classes.
    #[inline]
    fn run(&self, mut at: usize, classes: u8) -> usize {
        loop {
            let (class, len) = self.classes.at(self.text, at);
            if class & classes == 0 {
                return at;
            }
            at += len;
        }
    }

    /// `\p{N}{1,3}`, behind the first.
    fn number(&self, mut at: usize) -> usize {
        for _ in 1..self.scan.digits {
            let (class, len) = self.classes.at(self.text, at);
            if class & NUMBER == 0 {
                break;
            }
            at += len;
        }
        at
    }

    /// ` ?[^\s\p{L}\p{N}]+[\r\n]*`, behind the first of the class.
    fn punctuation(&self, mut at: usize) -> usize {
        loop {
            let (class, len) = self.classes.at(self.text, at);
            if len == 0 || class & self.no_punctuation() != 0 {
                break;
            }
            at += len;
        }
        if !self.scan.breaks_end_punctuation {
            return at;
        }
        let ends = |byte: &u8| matches!(byte, b'\r' | b'\n') || (self.scan.cased && *byte == b'/');
        at + self.text[at..].iter().take_while(|byte| ends(byte)).count()
    }

    /// `\s+$|\s*[\r\n]+|\s+(?!\S)|\s+`.
    fn space(&self, start: usize) -> usize {
        let (mut at, mut last_len, mut behind_break) = (start, 0, None);
        loop {
            let (class, len) = self.classes.at(self.text, at);
            if class & SPACE == 0 {
                break;
            }
            at += len;
            last_len = len;
            if class & LINE_BREAK != 0 {
                behind_break = Some(at);
            }
        }
        let at_end = at == self.text.len();
        match behind_break {
            Some(end) if !(self.scan.trailing_space && at_end) => end,
            // The last one belongs to what follows, unless it is the only one.
            _ if !at_end && at - last_len > start => at - last_len,
            _ => at,
        }
    }

    /// `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at `at`.
    fn contraction(&self, at: usize) -> Option<usize> {
        if !self.scan.contractions {
            return None;
        }
        let rest = self.text.get(at..)?.strip_prefix(b"'")?;
        let first = rest.first()?.to_ascii_lowercase();
        let second = rest.get(1).map(u8::to_ascii_lowercase);
        match (first, second) {
            (b's' | b't' | b'm' | b'd', _) => Some(at + 2),
            (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => Some(at + 3),
            _ if self.scan.long_s && rest.starts_with("\u{17f}".as_bytes()) => Some(at + 3),
            _ => None,
        }
    }

    /// The two alternatives of `o200k_base` for words, contractions left out, where `P` is an
    /// optional `[^\r\n\p{L}\p{N}]`: `P HIGH* LOW+` and, if that does not match, `P HIGH+
    /// LOW*`.
    #[inline]
    fn cased_word(&self, start: usize, class: u8, len: usize) -> Option<usize> {
        let prefix = class & NO_PREFIX == 0;
        let letters = class & (HIGH | LOW) != 0;
        if !prefix && !letters {
            return None;
        }
        let with = if prefix {
            self.high_low(start + len)
        } else {
            None
        };
        let without = |this: &Self| if letters { this.high_low(start) } else { None };
        with.or_else(|| without(self)).or_else(|| {
            // Nothing low follows: capitals alone.
            let from = if prefix { start + len } else { start };
            let end = self.run(from, HIGH);
            (end > from).then_some(end)
        })
    }

    /// `HIGH* LOW+`: as many of the first as leave one for the second.
    #[inline]
    fn high_low(&self, start: usize) -> Option<usize> {
        // Behind the last character that is both.
        let (mut at, mut both) = (start, None);
        loop {
            let (class, len) = self.classes.at(self.text, at);
            if class & HIGH == 0 {
                return match class & LOW {
                    0 => both,
                    _ => Some(self.run(at + len, LOW)),
                };
            }
            at += len;
            if class & LOW != 0 {
                both = Some(at);
            }
        }
    }
}
