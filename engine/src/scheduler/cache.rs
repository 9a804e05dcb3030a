//! [`PrefixCache`]: what was read for requests that ended, for others that begin alike.

use std::collections::{HashMap, HashSet};

use bitnet_kernels::{CachePart, Program};

use crate::error::Error;
use crate::sequence::shared;
use crate::session::Session;

/// Sequences that ended, each with the tokens that its cache holds. What they share with each other
/// takes memory once. All together take no more than a number of bytes; the one that was not needed
/// for the longest time goes first. Half of it is a request's share: those that are for the most
/// part alike, as answers to one prompt are, take no more together, and one that takes more by
/// itself drives out only others that do.
pub(super) struct PrefixCache {
    budget: usize,
    /// Those that were needed latest come last.
    kept: Vec<Kept>,
    memory: Memory,
    next: u64,
}

/// A sequence that is kept.
pub(super) struct Kept {
    number: u64,
    pub(super) session: Session,
    /// What it has read.
    pub(super) tokens: Vec<u32>,
    parts: Vec<CachePart>,
    bytes: usize,
}

/// A sequence of which something can be used for a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: Place,
    /// Tokens that a request and any sequence that was looked at begin with.
    pub(super) common: usize,
    /// How many of these a fork of it would have read.
    pub(super) read: usize,
}

impl Found {
    /// Nothing in common with anyone.
    pub(super) const NOTHING: Found = Found {
        at: Place::Kept(0),
        common: 0,
        read: 0,
    };
}

/// Where a sequence is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Among those that run.
    Running(usize),
    /// Among those that are kept, by its number.
    Kept(u64),
}

/// The parts of caches that are kept, each with how many have it.
#[derive(Default)]
struct Memory {
    parts: HashMap<usize, usize>,
    bytes: usize,
}

impl Memory {
    fn add(&mut self, parts: &[CachePart]) {
        for part in parts {
            let count = self.parts.entry(part.name).or_default();
            if *count == 0 {
                self.bytes += part.bytes;
            }
            *count += 1;
        }
    }

    fn remove(&mut self, parts: &[CachePart]) {
        for part in parts {
            let Some(count) = self.parts.get_mut(&part.name) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                self.bytes -= part.bytes;
                self.parts.remove(&part.name);
            }
        }
    }

    /// Bytes of those that it has not.
    fn missing(&self, parts: &[CachePart]) -> usize {
        let missing = parts
            .iter()
            .filter(|part| !self.parts.contains_key(&part.name));
        missing.map(|part| part.bytes).sum()
    }
}

impl Kept {
    /// How many of `tokens`, from the first on, it has read as a sequence of this capacity would.
    fn begins_with(&self, program: &Program, tokens: &[u32], capacity: usize) -> usize {
        match program.rotates_alike(self.session.capacity(), capacity) {
            true => shared(&self.tokens, tokens),
            false => 0,
        }
    }
}

impl PrefixCache {
    pub(super) fn new(budget: usize) -> PrefixCache {
        PrefixCache {
            budget,
            kept: Vec::new(),
            memory: Memory::default(),
            next: 0,
        }
    }

    /// Whether anything can be kept.
    pub(super) fn is_on(&self) -> bool {
        self.budget > 0
    }

    /// Most bytes that one request has of it, if others are to keep theirs.
    pub(super) fn share(&self) -> usize {
        self.budget / 2
    }

    /// The kept sequence of which most can be used for a request for one of this capacity, and what
    /// the request has in common with any.
    pub(super) fn find(&self, program: &Program, tokens: &[u32], capacity: usize) -> Option<Found> {
        let found = self.kept.iter().map(|kept| {
            let common = kept.begins_with(program, tokens, capacity);
            Found {
                at: Place::Kept(kept.number),
                common,
                read: kept.session.fork_point(common),
            }
        });
        // Of equals, the one that was needed latest.
        let best = found
            .clone()
            .max_by_key(|found| (found.read, found.common))?;
        let common = found.map(|found| found.common).max()?;
        Some(Found { common, ..best })
    }

    /// A sequence of this capacity that has read the first `tokens` of what a kept one has; that
    /// one is the one that was needed latest from now on.
    pub(super) fn fork(
        &mut self,
        number: u64,
        tokens: usize,
        capacity: usize,
    ) -> Result<Option<Session>, Error> {
        let Some(at) = self.kept.iter().position(|kept| kept.number == number) else {
            return Ok(None);
        };
        let kept = self.kept.remove(at);
        let fork = kept.session.fork(tokens, capacity);
        self.kept.push(kept);
        fork.map(Some)
    }

    /// Keeps a sequence that has read `tokens`, if there is room for it. What there is no room for,
    /// it or others, is handed back.
    ///
    /// # Errors
    /// [`Error::Backend`] where the device fails; nothing has changed then.
    pub(super) fn keep(
        &mut self,
        program: &Program,
        mut session: Session,
        tokens: Vec<u32>,
    ) -> Result<Vec<Kept>, Error> {
        let mut gone = Vec::new();
        if tokens.is_empty() {
            return Ok(gone);
        }
        let capacity = session.capacity();
        let states = session.keeps_state();
        let known = |kept: &Kept| {
            let alike = kept.begins_with(program, &tokens, capacity) == tokens.len();
            // Of equals, the later one has kept its states where others have parted from it.
            alike && !(states && kept.tokens.len() == tokens.len())
        };
        if let Some(known) = self.kept.iter().position(known) {
            let known = self.kept.remove(known);
            self.kept.push(known);
            return Ok(gone);
        }
        session.checkpoint()?;
        session.shrink();
        let parts = session.parts();
        let new = Kept {
            number: self.next,
            bytes: parts.iter().map(|part| part.bytes).sum(),
            session,
            tokens,
            parts,
        };
        self.next += 1;
        let alike = |kept: &Kept| kept.begins_with(program, &new.tokens, capacity);
        // One that it begins with is no longer needed.
        self.take_out(|kept| alike(kept) == kept.tokens.len());
        let share = self.share();
        if new.bytes > share {
            gone.extend(self.take_out(|kept| kept.bytes > share));
            if self.memory.bytes + self.memory.missing(&new.parts) > self.budget {
                gone.push(new);
                return Ok(gone);
            }
        }
        // Of those that are alike, the latest stay.
        let mut group = Memory::default();
        group.add(&new.parts);
        let mut too_many = HashSet::new();
        for kept in self.kept.iter().rev() {
            if alike(kept) < new.tokens.len() / 2 {
                continue;
            }
            match group.bytes + group.missing(&kept.parts) <= share {
                true => group.add(&kept.parts),
                false => _ = too_many.insert(kept.number),
            }
        }
        gone.extend(self.take_out(|kept| too_many.contains(&kept.number)));
        self.memory.add(&new.parts);
        self.kept.push(new);
        while self.memory.bytes > self.budget {
            let first = self.kept.remove(0);
            self.memory.remove(&first.parts);
            gone.push(first);
        }
        Ok(gone)
    }

    /// All that is kept; what was needed latest comes last.
    pub(super) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Bytes of all that is kept.
    pub(super) fn bytes(&self) -> usize {
        self.memory.bytes
    }

    fn take_out(&mut self, mut goes: impl FnMut(&Kept) -> bool) -> Vec<Kept> {
        let gone: Vec<Kept> = self.kept.extract_if(.., |kept| goes(kept)).collect();
        for kept in &gone {
            self.memory.remove(&kept.parts);
        }
        gone
    }
}
