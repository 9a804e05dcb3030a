//! What earlier answers were made of.

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::drafts::FARTHEST;

/// Tokens that are kept, those of the latest answers.
const TOKENS: usize = 1 << 17;

/// Places that are kept of what stood where: twice as many, since some are noted over others.
const PLACES: usize = 2 * TOKENS;

/// Adjacent tokens that have to be there again: more than within a text, since texts that have
/// nothing to do with each other agree in a few.
const NEEDLE: usize = 6;

/// What stands between two texts: no token.
const BETWEEN: u32 = u32::MAX;

/// The texts of an engine's latest answers, for guesses of what others will say. Bounded: it takes
/// the memory of 2.5 MB, once there is an answer.
#[derive(Default)]
pub(crate) struct Earlier(Mutex<Texts>);

/// Texts one behind the other, of which the first are overwritten by the last.
#[derive(Default)]
pub(super) struct Texts {
    /// The token with the number `i` stands at `i % TOKENS`.
    tokens: Vec<u32>,
    /// How many there have been.
    len: u64,
    /// By the hash of a few tokens, the number of the token behind them where they stood last; 0
    /// where they never did.
    behind: Vec<u64>,
}

/// A place of a text that is as another one at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of the token that followed there.
    next: u64,
    /// Tokens before it that are the same, counted up to a limit.
    pub(super) matched: usize,
}

impl Earlier {
    /// The texts, for as long as the result lives.
    pub(super) fn texts(&self) -> MutexGuard<'_, Texts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the last `answer` of these tokens, and a few before them, by which it is known again.
    pub(super) fn keep(&self, tokens: &[u32], answer: usize) {
        let first = tokens.len().saturating_sub(answer + FARTHEST);
        self.texts().keep(&tokens[first..]);
    }
}

impl Texts {
    fn keep(&mut self, text: &[u32]) {
        // More than there is room for would overwrite itself.
        let text = &text[text.len().saturating_sub(TOKENS / 2)..];
        if text.len() <= NEEDLE {
            return;
        }
        self.tokens.resize(TOKENS, BETWEEN);
        self.behind.resize(PLACES, 0);
        for (i, token) in text.iter().enumerate() {
            if let Some(needle) = text[..i].last_chunk() {
                self.behind[slot(needle)] = self.len;
            }
            self.push(*token);
        }
        self.push(BETWEEN);
    }

    fn push(&mut self, token: u32) {
        self.tokens[self.len as usize % TOKENS] = token;
        self.len += 1;
    }

    /// The token with this number, where it is kept.
    fn get(&self, number: u64) -> Option<u32> {
        let kept = number < self.len && self.len - number <= TOKENS as u64;
        let token = kept.then(|| self.tokens[number as usize % TOKENS])?;
        (token != BETWEEN).then_some(token)
    }

    /// The latest place where the last of `tokens` stood.
    pub(super) fn find(&self, tokens: &[u32]) -> Option<Place> {
        let next = *self.behind.get(slot(tokens.last_chunk()?))?;
        let before = (1..=next.min(FARTHEST as u64)).map(|back| self.get(next - back));
        let matched = before
            .zip(tokens.iter().rev())
            .take_while(|(there, here)| *there == Some(**here))
            .count();
        let found = matched >= NEEDLE && self.get(next).is_some();
        found.then_some(Place { next, matched })
    }

    /// Adds what followed there: `count` tokens, or as many as there are.
    pub(super) fn copy(&self, place: &Place, count: usize, to: &mut Vec<u32>) {
        let followed = (place.next..).map_while(|number| self.get(number));
        to.extend(followed.take(count));
    }
}

/// Where the place of these tokens is noted. Those of others may be noted there, too.
fn slot(needle: &[u32; NEEDLE]) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::new().hash_one(needle);
    hash as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drafted(texts: &Texts, tokens: &[u32], count: usize) -> Option<(usize, Vec<u32>)> {
        let place = texts.find(tokens)?;
        let mut draft = Vec::new();
        texts.copy(&place, count, &mut draft);
        Some((place.matched, draft))
    }

    #[test]
    fn what_followed_in_an_earlier_text_is_found_up_to_its_end() {
        let mut texts = Texts::default();
        assert_eq!(drafted(&texts, &[1, 2, 3, 4, 5, 6], 3), None);
        texts.keep(&[9, 1, 2, 3, 4, 5, 6, 7, 8]);
        texts.keep(&[1, 2, 3, 4, 5, 6]);
        texts.keep(&[20, 21, 22, 23, 24, 25, 26]);
        let text = [7, 1, 2, 3, 4, 5, 6];
        assert_eq!(drafted(&texts, &text, 1), Some((6, vec![7])));
        assert_eq!(drafted(&texts, &text, 9), Some((6, vec![7, 8])));
        let text = [9, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(drafted(&texts, &text, 9), Some((8, vec![8])));
        // Nothing follows the end of a text, and few tokens say nothing.
        assert_eq!(drafted(&texts, &[2, 3, 4, 5, 6, 7, 8], 9), None);
        assert_eq!(drafted(&texts, &[2, 3, 4, 5, 6], 9), None);
        // The latest counts.
        texts.keep(&[1, 2, 3, 4, 5, 6, 70, 80]);
        assert_eq!(drafted(&texts, &text[1..7], 9), Some((6, vec![70, 80])));
    }

    #[test]
    fn the_first_texts_are_forgotten_for_the_last() {
        let mut texts = Texts::default();
        let text = |number: u32| (0..1000).map(move |i| number * 1000 + i);
        for number in 0..3 * TOKENS as u32 / 1000 {
            texts.keep(&text(number).collect::<Vec<_>>());
            // One place may be noted over by another of the same hash, of several not all.
            let known = |number: u32| {
                (20..28).any(|len| {
                    let begun: Vec<u32> = text(number).take(len).collect();
                    let next = number * 1000 + len as u32;
                    let draft = drafted(&texts, &begun, 2);
                    let wanted = (len, vec![next, next + 1]);
                    assert!(draft.as_ref().is_none_or(|draft| *draft == wanted));
                    draft.is_some()
                })
            };
            assert!(known(number));
            let first = number.checked_sub(TOKENS as u32 / 1000 + 1);
            assert!(first.is_none_or(|first| !known(first)));
        }
        assert_eq!((texts.tokens.len(), texts.behind.len()), (TOKENS, PLACES));
    }

    #[test]
    fn the_end_of_what_stands_before_an_answer_is_kept_with_it() {
        let earlier = Earlier::default();
        let tokens: Vec<u32> = (0..100).collect();
        earlier.keep(&tokens, 10);
        let texts = earlier.texts();
        let before = 100 - 10 - FARTHEST;
        let begun = &tokens[..before + NEEDLE];
        assert_eq!(drafted(&texts, begun, 1).map(|it| it.0), Some(NEEDLE));
        assert_eq!(drafted(&texts, &tokens[..before + 2], 1), None);
        assert_eq!(
            drafted(&texts, &tokens[..90], 99).map(|it| it.1.len()),
            Some(10)
        );
    }
}
