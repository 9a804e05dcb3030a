//! Where the text has been in the same place before.

use std::collections::HashMap;

/// Adjacent tokens that have to be there again.
const NEEDLE: usize = 3;

/// Tokens before a place that are compared, at most, to tell how far two places agree.
pub(super) const FARTHEST: usize = 32;

/// What follows each few tokens of a text, by where they stood last.
#[derive(Default)]
pub(super) struct Drafts {
    /// The place behind the latest occurrence, of those that something follows.
    behind: HashMap<[u32; NEEDLE], usize>,
    /// Places up to this one were looked at.
    seen: usize,
}

/// A place where the text was as it is at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// The token that followed there.
    next: usize,
    /// Tokens before it that are the same, counted up to a limit.
    pub(super) matched: usize,
}

impl Drafts {
    /// Makes room for a text of `tokens` tokens, of which the first `kept` were seen.
    pub(super) fn begin(&mut self, tokens: usize, kept: usize) {
        self.seen = self.seen.min(kept);
        self.behind
            .reserve(tokens.saturating_sub(self.behind.len()));
    }

    /// The latest place where the last tokens stood before.
    pub(super) fn find(&mut self, tokens: &[u32]) -> Option<Found> {
        for end in self.seen.max(NEEDLE)..tokens.len() {
            if let Some(needle) = needle(tokens, end) {
                self.behind.insert(needle, end);
            }
        }
        self.seen = self.seen.max(tokens.len());
        let next = *self.behind.get(&needle(tokens, tokens.len())?)?;
        // A text that was rewritten may have left places that are no longer there.
        let matched = tokens
            .get(..next)?
            .iter()
            .rev()
            .zip(tokens.iter().rev())
            .take(FARTHEST)
            .take_while(|(there, here)| there == here)
            .count();
        (matched >= NEEDLE && next < tokens.len()).then_some(Found { next, matched })
    }

    /// Adds what followed there: `count` tokens, again from that place on where the end of the text
    /// is reached.
    pub(super) fn copy(&self, tokens: &[u32], found: &Found, count: usize, to: &mut Vec<u32>) {
        let followed = &tokens[found.next..];
        to.extend(followed.iter().cycle().take(count));
    }
}

/// The tokens before `end`.
fn needle(tokens: &[u32], end: usize) -> Option<[u32; NEEDLE]> {
    tokens[..end].last_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafted(drafts: &mut Drafts, tokens: &[u32], count: usize) -> Option<(usize, Vec<u32>)> {
        let found = drafts.find(tokens)?;
        let mut draft = Vec::new();
        drafts.copy(tokens, &found, count, &mut draft);
        Some((found.matched, draft))
    }

    #[test]
    fn what_followed_the_same_tokens_last_is_guessed() {
        let mut drafts = Drafts::default();
        let text = [9, 1, 2, 3, 4, 5, 8, 1, 2, 3, 6, 7, 1, 2, 3];
        assert_eq!(drafted(&mut drafts, &text[..3], 2), None);
        assert_eq!(drafted(&mut drafts, &text[..10], 2), Some((3, vec![4, 5])));
        assert_eq!(drafted(&mut drafts, &text, 3), Some((3, vec![6, 7, 1])));
    }

    #[test]
    fn a_text_that_goes_in_circles_is_guessed_beyond_its_end() {
        let text = [1, 2, 3, 1, 2, 3, 1];
        let circle = drafted(&mut Drafts::default(), &text, 5);
        assert_eq!(circle, Some((4, vec![2, 3, 1, 2, 3])));
    }

    #[test]
    fn places_that_were_taken_back_are_not_guessed_from() {
        let mut drafts = Drafts::default();
        assert!(drafted(&mut drafts, &[1, 2, 3, 4, 1, 2, 3], 1).is_some());
        drafts.begin(8, 0);
        assert_eq!(drafted(&mut drafts, &[1, 2, 3], 1), None);
        assert_eq!(drafted(&mut drafts, &[7, 1, 2, 3], 1), None);
        drafts.begin(8, 1);
        let again = drafted(&mut drafts, &[1, 2, 3, 5, 1, 2, 3], 1);
        assert_eq!(again, Some((3, vec![5])));
    }
}
