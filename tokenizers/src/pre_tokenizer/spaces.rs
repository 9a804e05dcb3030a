//! Long runs of spaces in pieces of 512, 256, ... and 1 characters, the longest first.
//!
//! An expression says it with a look-ahead for each length, over which it looks at a run once per
//! piece.

use std::ops::Range;

const LENGTHS: [usize; 10] = [512, 256, 128, 64, 32, 16, 8, 4, 2, 1];

/// The pieces of `text`, if it is white space without line breaks; else none.
pub(super) fn words(text: &str) -> Vec<Range<usize>> {
    let cut = |c: char| c.is_whitespace() && !matches!(c, '\r' | '\n');
    if !text.chars().all(cut) {
        return Vec::new();
    }
    let mut ends = text.char_indices().map(|(at, c)| at + c.len_utf8());
    let mut left = text.chars().count();
    let mut start = 0;
    let mut words = Vec::new();
    for length in LENGTHS {
        while left >= length {
            left -= length;
            let Some(end) = ends.nth(length - 1) else {
                return words;
            };
            words.push(start..end);
            start = end;
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_cut_into_powers_of_two() {
        let lengths = |text: &str| words(text).iter().map(Range::len).collect::<Vec<_>>();
        assert_eq!(lengths(&" ".repeat(1031)), [512, 512, 4, 2, 1]);
        assert_eq!(lengths("\u{3000}\u{3000}\u{3000}"), [6, 3]);
        assert!(words(" \n").is_empty());
        assert!(words(" a").is_empty());
    }
}
