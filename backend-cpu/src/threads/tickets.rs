//! Who computes which piece of an operation.
//!
//! Each thread begins with a run of adjacent pieces of its own, so that it reads weights in one
//! stream, and then takes what is left of the others', so that a thread that the system holds up
//! does not hold up the rest.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Pieces of an operation, as one thread takes them.
pub(crate) struct Tickets<'a> {
    /// Pieces taken so far of each thread's run.
    taken: &'a [AtomicUsize],
    pieces: usize,
    /// Whose run is next, and how many are left to try.
    owner: usize,
    left: usize,
}

impl<'a> Tickets<'a> {
    /// The tickets of `thread` for `pieces` pieces. `taken` has a counter per thread, all 0 at
    /// first.
    pub(crate) fn new(taken: &'a [AtomicUsize], thread: usize, pieces: usize) -> Tickets<'a> {
        Tickets {
            taken,
            pieces,
            owner: thread,
            left: taken.len(),
        }
    }
}

impl Iterator for Tickets<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let threads = self.taken.len();
        let first = |thread: usize| self.pieces * thread / threads;
        while self.left > 0 {
            let taken = self.taken[self.owner].fetch_add(1, Ordering::Relaxed);
            let piece = first(self.owner) + taken;
            if piece < first(self.owner + 1) {
                return Some(piece);
            }
            self.owner = (self.owner + 1) % threads;
            self.left -= 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_taken_once_and_a_thread_begins_with_its_own() {
        for threads in 1..5 {
            for pieces in 0..20 {
                let taken: Vec<AtomicUsize> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
                let mut seen = vec![0; pieces];
                let mut all: Vec<Tickets<'_>> = (0..threads)
                    .map(|thread| Tickets::new(&taken, thread, pieces))
                    .collect();
                let own = pieces * (threads - 1) / threads;
                let last = all[threads - 1].next();
                assert_eq!(last, (pieces > 0).then_some(own));
                let rest: Vec<usize> = all.iter_mut().flatten().collect();
                for piece in last.into_iter().chain(rest) {
                    seen[piece] += 1;
                }
                assert!(seen.iter().all(|times| *times == 1), "{threads}, {pieces}");
            }
        }
    }
}
