//! [`PrefixCache`]: what was read for requests that ended, for others that begin alike.

use crate::session::Session;

/// Sequences that ended, each with the tokens that its cache holds. They take no more than a number
/// of bytes together; the one that was not needed for the longest time goes first. Half of it is a
/// request's share: those that are for the most part alike, as answers to one prompt are, take no
/// more together, and one that takes more by itself drives out only others that do.
pub(super) struct PrefixCache {
    budget: usize,
    /// Those that were needed latest come last.
    kept: Vec<Kept>,
}

struct Kept {
    session: Session,
    tokens: Vec<u32>,
}

impl Kept {
    /// Bytes of what it has read.
    fn bytes(&self) -> usize {
        self.session.bytes()
    }
}

impl PrefixCache {
    pub(super) fn new(budget: usize) -> PrefixCache {
        PrefixCache {
            budget,
            kept: Vec::new(),
        }
    }

    /// Whether anything can be kept.
    pub(super) fn is_on(&self) -> bool {
        self.budget > 0
    }

    /// Takes out the sequence of this capacity that shares the longest beginning with `tokens`,
    /// with its own tokens; nothing where none shares any, or too little of a longer one, which
    /// others may need.
    pub(super) fn take(&mut self, tokens: &[u32], capacity: usize) -> Option<(Session, Vec<u32>)> {
        let shared = |kept: &Kept| match kept.session.capacity() == capacity {
            true => shared(&kept.tokens, tokens),
            false => 0,
        };
        // Of equals, the one that was needed latest.
        let best = (0..self.kept.len()).max_by_key(|i| shared(&self.kept[*i]))?;
        let kept = &self.kept[best];
        if shared(kept) == 0 || shared(kept) < kept.tokens.len() / 2 {
            return None;
        }
        let kept = self.kept.remove(best);
        Some((kept.session, kept.tokens))
    }

    /// Keeps a sequence that has read `tokens`, if there is room for it.
    pub(super) fn keep(&mut self, session: Session, tokens: Vec<u32>) {
        let alike = |kept: &Kept| match kept.session.capacity() == session.capacity() {
            true => shared(&kept.tokens, &tokens),
            false => 0,
        };
        if tokens.is_empty() || self.kept.iter().any(|kept| alike(kept) == tokens.len()) {
            return;
        }
        // One that it begins with is no longer needed.
        self.kept.retain(|kept| alike(kept) < kept.tokens.len());
        let (share, bytes) = (self.budget / 2, session.bytes());
        if bytes > share {
            self.kept.retain(|kept| kept.bytes() <= share);
            if self.bytes().saturating_add(bytes) > self.budget {
                return;
            }
        }
        let mut left = share.saturating_sub(bytes);
        for at in (0..self.kept.len()).rev() {
            let kept = &self.kept[at];
            if alike(kept) < tokens.len() / 2 {
                continue;
            }
            match left.checked_sub(kept.bytes()) {
                Some(rest) => left = rest,
                None => drop(self.kept.remove(at)),
            }
        }
        self.kept.push(Kept { session, tokens });
        while self.bytes() > self.budget {
            self.kept.remove(0);
        }
    }

    /// Bytes of all that is kept.
    pub(super) fn bytes(&self) -> usize {
        self.kept.iter().map(Kept::bytes).sum()
    }
}

/// Tokens of the beginning that two sequences share.
fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
