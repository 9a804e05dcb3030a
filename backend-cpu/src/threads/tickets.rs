//! Who computes which piece of a phase, and when all of them are done.
//!
//! Each thread begins with a run of adjacent pieces of its own, so that it reads weights in one
//! stream, and then takes what is left of the others'. A thread that the system holds up holds up
//! nobody, unless it has begun a piece: what is waited for is that all *pieces* are done, not that
//! all threads have come.
//!
//! # Why a thread may come late
//!
//! Phases are numbered. The word of a run says in which phase a piece was last taken from it, and
//! how many were; whoever takes one replaces the word by the next. So:
//!
//! 1. A word never returns to a value that it had, since numbers of phases and, within a phase, of
//!    pieces only rise. (A number has 40 bits: at a million phases a second they last twelve days,
//!    and then a run that was left alone for all of them would have to be mistaken.)
//! 2. A thread reads which phase is under way, then the word of a run, then once more which phase
//!    is under way. If both are the same, the word is not of a later phase: whoever wrote such a
//!    word had seen the later phase before, and its writing ("release") and our reading ("acquire")
//!    of the word would let us see that phase, too.
//! 3. If it then replaces that very word, it holds a piece that nobody else has taken, by 1, of a
//!    phase that is still under way: a phase ends when all its pieces are reported, and this one
//!    was not even taken.
//! 4. From then until it reports the piece, the phase cannot end. So it may read what earlier
//!    phases wrote, whose reports it sees by way of the word of the phase, and write what is the
//!    piece's. A thread without a piece touches nothing but these words.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Bits of a word that count pieces. Those above are the number of a phase.
const PIECE_BITS: u32 = 24;
const PIECE_MASK: u64 = (1 << PIECE_BITS) - 1;

/// Two lines of a cache, since neighbours of lines that are read are fetched as well: what one
/// thread writes must not share them with what another does.
#[repr(align(128))]
#[derive(Default)]
pub(crate) struct Padded<T>(pub(crate) T);

/// A phase: its number, and how many pieces it has. Without any, nothing is under way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Phase(u64);

impl Phase {
    pub(crate) fn pieces(self) -> usize {
        (self.0 & PIECE_MASK) as usize
    }

    fn number(self) -> u64 {
        self.0 >> PIECE_BITS
    }
}

/// The tickets of one phase after another.
pub(crate) struct Tickets {
    phase: Padded<AtomicU64>,
    /// Pieces of the phase under way that were reported.
    done: Padded<AtomicUsize>,
    /// Runs in which the tickets are handed out, and how many of them are in use.
    runs: Box<[Padded<AtomicU64>]>,
    in_use: Padded<AtomicUsize>,
}

impl Tickets {
    /// Tickets that are handed out in up to so many runs.
    pub(crate) fn new(runs: usize) -> Tickets {
        Tickets {
            phase: Padded::default(),
            done: Padded::default(),
            runs: (0..runs).map(|_| Padded::default()).collect(),
            in_use: Padded(AtomicUsize::new(runs)),
        }
    }

    /// Hands out the tickets in so many runs from now on. For one thread alone, where nothing is
    /// under way.
    pub(crate) fn deal_to(&self, runs: usize) {
        // Who sees this sees also that the phase before is over.
        self.in_use.0.store(runs, Ordering::Release);
    }

    /// The phase under way.
    pub(crate) fn phase(&self) -> Phase {
        Phase(self.phase.0.load(Ordering::SeqCst))
    }

    /// Begins the next phase. For one thread alone: where nothing is under way, or by whom
    /// [`Tickets::report`] told that all is done.
    pub(crate) fn begin(&self, pieces: usize) {
        assert!(pieces as u64 <= PIECE_MASK, "{pieces} pieces");
        self.done.0.store(0, Ordering::Relaxed);
        let next = (self.phase().number() + 1) << PIECE_BITS | pieces as u64;
        // A swap, since a load may overtake a plain sequentially consistent store in qemu's
        // AArch64: who begins a phase looks for sleepers then.
        self.phase.0.swap(next, Ordering::SeqCst);
    }

    /// The pieces of `phase` for a thread, if there is one for it.
    pub(crate) fn take(&self, phase: Phase, thread: usize) -> Option<Pieces<'_>> {
        let runs = self.in_use.0.load(Ordering::Acquire);
        let mut drawing = Drawing {
            tickets: self,
            phase,
            runs,
            run: thread % runs,
            left: runs,
            drawn: 0,
            contended: 0,
        };
        let first = drawing.next()?;
        Some(Pieces {
            at_hand: first..first + 1,
            drawing: Some(drawing),
        })
    }

    /// Reports pieces that were taken. Whether these were the last, so that the phase is done.
    pub(crate) fn report(&self, phase: Phase, taken: usize) -> bool {
        self.done.0.fetch_add(taken, Ordering::AcqRel) + taken == phase.pieces()
    }
}

/// The first piece of a run, where so many pieces are in so many runs.
pub(crate) const fn first_of_run(run: usize, pieces: usize, runs: usize) -> usize {
    pieces * run / runs
}

/// The run that a piece is in.
pub(crate) const fn run_of(piece: usize, pieces: usize, runs: usize) -> usize {
    ((piece + 1) * runs - 1) / pieces
}

/// The pieces of a phase that one thread computes, as it takes them.
pub(crate) struct Pieces<'a> {
    at_hand: Range<usize>,
    drawing: Option<Drawing<'a>>,
}

struct Drawing<'a> {
    tickets: &'a Tickets,
    phase: Phase,
    /// Runs that its pieces are dealt to.
    runs: usize,
    /// From which run the next is taken, and how many are left to try.
    run: usize,
    left: usize,
    drawn: usize,
    /// How many of them were of other threads' runs.
    contended: usize,
}

impl Pieces<'_> {
    /// All pieces of what one thread does alone.
    pub(crate) fn all(pieces: usize) -> Pieces<'static> {
        Pieces {
            at_hand: 0..pieces,
            drawing: None,
        }
    }

    /// How many were taken by ticket, and how many of these from the runs of others.
    pub(super) fn taken(&self) -> [usize; 2] {
        let drawing = self.drawing.as_ref();
        drawing.map_or([0; 2], |drawing| [drawing.drawn, drawing.contended])
    }
}

impl Iterator for Pieces<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.at_hand
            .next()
            .or_else(|| self.drawing.as_mut()?.next())
    }
}

impl Drawing<'_> {
    fn next(&mut self) -> Option<usize> {
        let first = |run| first_of_run(run, self.phase.pieces(), self.runs);
        while self.left > 0 {
            let run = first(self.run)..first(self.run + 1);
            let word = &self.tickets.runs[self.run].0;
            let mut now = word.load(Ordering::Acquire);
            loop {
                if self.tickets.phase() != self.phase {
                    // Everything of it is done.
                    self.left = 0;
                    return None;
                }
                let taken = match Phase(now).number() == self.phase.number() {
                    true => (now & PIECE_MASK) as usize,
                    false => 0,
                };
                if taken == run.len() {
                    break;
                }
                let next = self.phase.number() << PIECE_BITS | (taken + 1) as u64;
                match word.compare_exchange(now, next, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        self.drawn += 1;
                        self.contended += usize::from(self.left < self.runs);
                        return Some(run.start + taken);
                    }
                    Err(newer) => now = newer,
                }
            }
            self.run = (self.run + 1) % self.runs;
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
            let tickets = Tickets::new(threads);
            for pieces in 1..20 {
                tickets.begin(pieces);
                let phase = tickets.phase();
                let mut seen = vec![0; pieces];
                let own = pieces * (threads - 1) / threads;
                let mut last = tickets.take(phase, threads - 1).expect("a piece");
                assert_eq!(last.next(), Some(own));
                let others = (0..threads - 1).filter_map(|thread| tickets.take(phase, thread));
                let mut all: Vec<Pieces<'_>> = others.collect();
                for piece in [own].into_iter().chain(all.iter_mut().flatten()) {
                    seen[piece] += 1;
                }
                for piece in &mut last {
                    seen[piece] += 1;
                }
                assert!(seen.iter().all(|times| *times == 1), "{threads}, {pieces}");
                all.push(last);
                let taken: Vec<usize> = all.iter().map(|pieces| pieces.taken()[0]).collect();
                let reports = taken.iter().map(|taken| tickets.report(phase, *taken));
                assert_eq!(reports.filter(|done| *done).count(), 1);
            }
        }
    }

    #[test]
    fn a_piece_is_in_its_run() {
        for (pieces, runs) in [(1, 1), (1, 7), (5, 2), (6, 4), (7, 3), (64, 64), (1000, 7)] {
            let of = |run| first_of_run(run, pieces, runs)..first_of_run(run + 1, pieces, runs);
            for piece in 0..pieces {
                let run = run_of(piece, pieces, runs);
                assert!(of(run).contains(&piece), "{piece} of {pieces} in {runs}");
            }
        }
    }

    #[test]
    fn a_thread_that_comes_late_takes_nothing_of_a_later_phase() {
        let tickets = Tickets::new(2);
        tickets.begin(3);
        let early = tickets.phase();
        let mut held_up = tickets.take(early, 1).expect("a piece");
        assert_eq!(held_up.by_ref().count(), 3);
        assert!(tickets.take(early, 0).is_none());
        assert!(tickets.report(early, 3));
        tickets.begin(4);
        assert!(tickets.take(early, 0).is_none() && tickets.take(early, 1).is_none());
        assert_eq!(held_up.next(), None);
        let late = tickets.take(tickets.phase(), 0).expect("a piece");
        assert_eq!(late.collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
