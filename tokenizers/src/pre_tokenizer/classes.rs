//! Unicode classes of characters, taken from the tables of the regular expressions that they stand
//! in for.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// `\p{Lu}` and `\p{Lt}`.
pub(super) const UPPER: u8 = 1;
/// `\p{Ll}`.
pub(super) const LOWER: u8 = 1 << 1;
/// `\p{Lm}` and `\p{Lo}`.
pub(super) const CASELESS: u8 = 1 << 2;
/// `\p{M}`.
pub(super) const MARK: u8 = 1 << 3;
/// `\p{N}`.
pub(super) const NUMBER: u8 = 1 << 4;
/// `\s`, line breaks among them.
pub(super) const SPACE: u8 = 1 << 5;
/// `[\r\n]`.
pub(super) const LINE_BREAK: u8 = 1 << 6;
/// `\p{Nd}`, among the numbers.
pub(super) const DECIMAL: u8 = 1 << 7;
/// `\p{L}`.
pub(super) const LETTER: u8 = UPPER | LOWER | CASELESS;

const PAGE: usize = 256;

/// The classes of every character, in pages of 256; equal pages are kept once.
pub(super) struct Classes {
    pages: Vec<u16>,
    kept: Vec<[u8; PAGE]>,
    ascii: [u8; 128],
}

/// Made on first use.
pub(super) static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::new);

impl Classes {
    fn new() -> Classes {
        let mut flat = vec![0_u8; 0x11_0000];
        for (expression, class) in [
            (r"[\p{Lu}\p{Lt}]", UPPER),
            (r"\p{Ll}", LOWER),
            (r"[\p{Lm}\p{Lo}]", CASELESS),
            (r"\p{M}", MARK),
            (r"\p{N}", NUMBER),
            (r"\s", SPACE),
            (r"[\r\n]", LINE_BREAK),
            (r"\d", DECIMAL),
        ] {
            let parsed = regex_syntax::parse(expression).expect("a class");
            if let HirKind::Class(Class::Unicode(found)) = parsed.kind() {
                for range in found.ranges() {
                    for point in u32::from(range.start())..=u32::from(range.end()) {
                        flat[point as usize] |= class;
                    }
                }
            }
        }
        let mut kept: Vec<[u8; PAGE]> = Vec::new();
        let pages = flat
            .as_chunks::<PAGE>()
            .0
            .iter()
            .map(|page| {
                let at = kept.iter().position(|other| other == page);
                let at = at.unwrap_or_else(|| {
                    kept.push(*page);
                    kept.len() - 1
                });
                at as u16
            })
            .collect();
        let mut ascii = [0; 128];
        ascii.copy_from_slice(&flat[..128]);
        Classes { pages, kept, ascii }
    }

    /// The classes of the character that begins at `bytes[at]`, and its length; nothing behind the
    /// end. `bytes` is UTF-8.
    #[inline]
    pub(super) fn at(&self, bytes: &[u8], at: usize) -> (u8, usize) {
        match bytes.get(at) {
            Some(byte) if *byte < 128 => (self.ascii[*byte as usize], 1),
            Some(_) => self.wide(bytes, at),
            None => (0, 0),
        }
    }

    fn wide(&self, bytes: &[u8], at: usize) -> (u8, usize) {
        let continuation = |i: usize| u32::from(bytes[at + i] & 0x3f);
        let first = u32::from(bytes[at]);
        let (point, len) = match first {
            ..0xe0 => ((first & 0x1f) << 6 | continuation(1), 2),
            0xe0..0xf0 => (
                (first & 0x0f) << 12 | continuation(1) << 6 | continuation(2),
                3,
            ),
            _ => (
                (first & 0x07) << 18
                    | continuation(1) << 12
                    | continuation(2) << 6
                    | continuation(3),
                4,
            ),
        };
        let page = &self.kept[self.pages[point as usize / PAGE] as usize];
        (page[point as usize % PAGE], len)
    }
}

#[cfg(test)]
mod tests {
    use fancy_regex::Regex;

    use super::*;

    #[test]
    fn classes_are_those_of_the_expressions() {
        let all: String = (0..=u32::from(char::MAX))
            .filter_map(char::from_u32)
            .collect();
        for (expression, class) in [
            (r"\p{L}", LETTER),
            (r"[\p{Lu}\p{Lt}]", UPPER),
            (r"\p{Ll}", LOWER),
            (r"[\p{Lm}\p{Lo}]", CASELESS),
            (r"\p{M}", MARK),
            (r"\p{N}", NUMBER),
            (r"\s", SPACE),
            (r"[\r\n]", LINE_BREAK),
            (r"\d", DECIMAL),
        ] {
            let regex = Regex::new(expression).unwrap();
            let matched: std::collections::HashSet<usize> = regex
                .find_iter(&all)
                .map(|found| found.unwrap().start())
                .collect();
            for (at, character) in all.char_indices() {
                let (classes, len) = CLASSES.at(all.as_bytes(), at);
                assert_eq!(len, character.len_utf8());
                assert_eq!(
                    classes & class != 0,
                    matched.contains(&at),
                    "{character:?} in {expression}"
                );
            }
        }
    }
}
