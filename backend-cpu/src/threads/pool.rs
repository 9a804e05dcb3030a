//! A persistent pool of threads that compute phases, one after another, each cut into pieces.
//!
//! A phase is done when all its pieces are. Whoever reports the last one begins the next phase,
//! alone, and the others find it under way; nobody waits for a thread that has no piece. Threads
//! that find none spin for a short while, since the next phase is microseconds away, and then park.
//! No more threads are awake than have a core each: others would take the cores of those that hold
//! a piece. What one thread computes alone has no phases that others could see; with one thread
//! nothing is ever spawned.
//!
//! What threads may touch, and when, is told in [`tickets`](super::tickets).

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::{io, iter};

use bitnet_kernels::Coordination;

use super::affinity::{Confined, confine};
use super::tickets::{Padded, Phase, Pieces, Tickets};

/// Iterations of a waiting loop before a thread parks.
const SPINS: usize = 4000;

/// What a pool computes.
pub(crate) trait Phases: Sync {
    /// Goes on to the next phase and tells into how many pieces it is cut; 0 at the end. Called by
    /// one thread at a time, when all pieces of the phase before are done, and not again after the
    /// end.
    fn next(&self, thread: usize) -> usize;

    /// Computes pieces of the phase under way.
    fn compute(&self, thread: usize, pieces: &mut Pieces<'_>);
}

/// One thread, as the others see it.
#[derive(Default)]
struct Member {
    parked: Mutex<bool>,
    bell: Condvar,
    /// Atomic changes of what others change as well: reports, and tickets from the runs of others.
    /// Written by this thread alone.
    contended: AtomicU64,
}

struct Shared {
    /// Threads that share what is computed, those with the lowest numbers. Written where no phase
    /// is under way.
    at_once: AtomicUsize,
    tickets: Tickets,
    /// What is computed. Written where no phase is under way, and read by who holds a piece or
    /// begins a phase.
    phases: UnsafeCell<Option<&'static dyn Phases>>,
    members: Box<[Padded<Member>]>,
    parked: Padded<Threads>,
    /// Phases that were begun behind others; written by who begins one.
    barriers: AtomicU64,
    panicked: AtomicBool,
    /// What a thread panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    stop: AtomicBool,
}

// SAFETY: `phases` is written by the pool's owner only while no phase is under way, and read by
// threads that hold a piece of a phase, or have reported the last one and not begun the next. They
// have seen a phase that was begun after the writing.
unsafe impl Sync for Shared {}
// SAFETY: as above; everything else in it is `Send`.
unsafe impl Send for Shared {}

/// The threads.
pub(crate) struct Pool {
    /// Threads that may compute at the same time.
    at_once: usize,
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// The CPUs of the caller while it computes, where there is a choice of them.
    callers: Option<Vec<usize>>,
}

/// Why there is no pool.
#[derive(Debug)]
pub(crate) enum PoolError {
    /// Threads cannot be started.
    Start(io::Error),
    /// They cannot be confined to their CPUs.
    Confine(io::Error),
}

impl Pool {
    /// A pool of `threads`, the caller's included, of which `at_once` are awake at a time, those
    /// with the lowest numbers. `cpus` has the CPUs of each, from the caller's on, where the system
    /// is not to choose. The caller is confined to its own only while it computes.
    pub(crate) fn new(
        threads: usize,
        at_once: usize,
        cpus: Vec<Vec<usize>>,
    ) -> Result<Pool, PoolError> {
        let at_once = at_once.clamp(1, threads);
        let shared = Arc::new(Shared {
            at_once: AtomicUsize::new(at_once),
            tickets: Tickets::new(at_once),
            phases: UnsafeCell::new(None),
            members: (0..threads).map(|_| Padded::default()).collect(),
            parked: Padded(Threads::none(threads)),
            barriers: AtomicU64::new(0),
            panicked: AtomicBool::new(false),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
        });
        let mut cpus = cpus.into_iter().map(Some).chain(iter::repeat(None));
        let callers = cpus.next().flatten();
        if let Some(cpus) = &callers {
            // Whether it can be is found out here.
            drop(Confined::to(cpus).map_err(PoolError::Confine)?);
        }
        let mut pool = Pool {
            at_once,
            shared,
            workers: Vec::new(),
            callers,
        };
        let (told, started) = mpsc::channel();
        for (thread, cpus) in (1..threads).zip(cpus) {
            let (shared, told) = (Arc::clone(&pool.shared), told.clone());
            let worker = thread::Builder::new().name(format!("bitnet-cpu-{thread}"));
            let worker = worker.spawn(move || {
                // Nobody listens any more where another has failed.
                let _ = told.send(cpus.map_or(Ok(()), |cpus| confine(&cpus)));
                shared.work(thread);
            });
            pool.workers.push(worker.map_err(PoolError::Start)?);
        }
        // What the system does for a thread that starts is not to happen in a pass.
        for confined in started.iter().take(threads - 1) {
            confined.map_err(PoolError::Confine)?;
        }
        Ok(pool)
    }

    pub(crate) fn threads(&self) -> usize {
        self.shared.members.len()
    }

    /// The most threads that compute at the same time.
    pub(crate) fn at_once(&self) -> usize {
        self.at_once
    }

    pub(crate) fn coordination(&self) -> Coordination {
        let contended = |member: &Padded<Member>| member.0.contended.load(Ordering::Relaxed);
        Coordination {
            barriers: self.shared.barriers.load(Ordering::Relaxed),
            contended: self.shared.members.iter().map(contended).sum(),
        }
    }

    /// Computes `phases` to the end, with up to `threads` threads.
    pub(crate) fn run(&mut self, threads: usize, phases: &dyn Phases) {
        let threads = threads.min(self.at_once);
        // Where its CPUs are gone since the start, the system has moved the other threads, too.
        let _confined = self.callers.as_deref().map(Confined::to);
        if threads == 1 {
            loop {
                match phases.next(0) {
                    0 => return,
                    pieces => phases.compute(0, &mut Pieces::all(pieces)),
                }
            }
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Nobody uses it after the last phase, whose end this
        // function waits for before it returns, whether a piece panics or not.
        let forever = unsafe { std::mem::transmute::<&dyn Phases, &'static dyn Phases>(phases) };
        // SAFETY: no phase is under way: `&mut self`, and the last `run` waited for the end of its.
        unsafe { *shared.phases.get() = Some(forever) };
        shared.at_once.store(threads, Ordering::Relaxed);
        shared.tickets.deal_to(threads);
        shared.go_on(0);
        loop {
            let phase = shared.tickets.phase();
            if phase.pieces() == 0 {
                break;
            }
            if !shared.help(0, phase) {
                shared.wait(0, phase);
            }
        }
        if shared.panicked.swap(false, Ordering::Relaxed) {
            match locked(&shared.panic).take() {
                Some(panic) => resume_unwind(panic),
                None => unreachable!("whoever panics leaves what it panicked with"),
            }
        }
    }

    /// Computes pieces that do not depend on each other.
    pub(crate) fn each(&mut self, pieces: usize, compute: impl Fn(usize) + Sync) {
        let left = AtomicUsize::new(pieces);
        self.run(self.at_once, &Each { left, compute });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.tickets.begin(0);
        for thread in 0..self.threads() {
            self.shared.wake(thread);
        }
        for worker in self.workers.drain(..) {
            // A worker's panic was already passed on by `run`.
            let _ = worker.join();
        }
    }
}

/// A single phase.
struct Each<F> {
    /// Its pieces, until it is begun.
    left: AtomicUsize,
    compute: F,
}

impl<F: Fn(usize) + Sync> Phases for Each<F> {
    fn next(&self, _thread: usize) -> usize {
        self.left.swap(0, Ordering::Relaxed)
    }

    fn compute(&self, _thread: usize, pieces: &mut Pieces<'_>) {
        pieces.for_each(&self.compute);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// What a worker does all its life.
    fn work(&self, thread: usize) {
        loop {
            let phase = self.tickets.phase();
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            if !self.help(thread, phase) {
                self.wait(thread, phase);
            }
        }
    }

    /// Computes pieces of a phase, and begins the next one if these were the last. Whether there
    /// were any for this thread.
    fn help(&self, thread: usize, phase: Phase) -> bool {
        let Some(mut pieces) = self.tickets.take(phase, thread) else {
            return false;
        };
        // SAFETY: a piece of the phase is held, so the phase is under way and nobody writes this.
        if let Some(phases) = unsafe { *self.phases.get() } {
            self.guarded(|| phases.compute(thread, &mut pieces));
        }
        // Nothing that the piece belongs to is touched from here on, since it may be gone.
        let [taken, contended] = pieces.taken();
        let own = &self.members[thread].0.contended;
        let contended = own.load(Ordering::Relaxed) + contended as u64 + 1;
        own.store(contended, Ordering::Relaxed);
        if self.tickets.report(phase, taken) {
            self.go_on(thread);
        }
        true
    }

    /// Begins the next phase, or the end; for one thread at a time.
    fn go_on(&self, thread: usize) {
        let mut pieces = 0;
        // SAFETY: all pieces are done, and the next phase is not begun, so nobody writes this.
        if let Some(phases) = unsafe { *self.phases.get() }
            && !self.panicked.load(Ordering::Relaxed)
        {
            self.guarded(|| pieces = phases.next(thread));
        }
        if pieces > 0 && self.tickets.phase().pieces() > 0 {
            let barriers = self.barriers.load(Ordering::Relaxed);
            self.barriers.store(barriers + 1, Ordering::Relaxed);
        }
        self.tickets.begin(pieces);
        if pieces == 0 {
            self.wake(0);
            return;
        }
        // Who is not woken is not missed: those who are awake do the work.
        let at_once = self.at_once.load(Ordering::Relaxed);
        let parked = self.parked.0.below(at_once);
        let parked = parked.map(|(_, word)| word.count_ones() as usize);
        let mut wanted = (pieces.min(at_once) + parked.sum::<usize>()).saturating_sub(at_once);
        if wanted == 0 {
            return;
        }
        for (first, mut word) in self.parked.0.below(at_once) {
            while word != 0 && wanted > 0 {
                self.wake(first + word.trailing_zeros() as usize);
                word &= word - 1;
                wanted -= 1;
            }
        }
    }

    /// Keeps what `f` panics with for [`Pool::run`]; the phase under way is then the last one.
    fn guarded(&self, f: impl FnOnce()) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(f)) {
            *locked(&self.panic) = Some(panic);
            self.panicked.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until `phase` is over, or until somebody wants this thread.
    fn wait(&self, thread: usize, phase: Phase) {
        if thread < self.at_once.load(Ordering::Relaxed) {
            for _ in 0..SPINS {
                if self.tickets.phase() != phase {
                    return;
                }
                std::hint::spin_loop();
            }
        }
        let member = &self.members[thread].0;
        let mut parked = locked(&member.parked);
        *parked = true;
        self.parked.0.insert(thread);
        // Whoever begins a phase behind this look finds the thread parked.
        if self.tickets.phase() != phase {
            *parked = false;
            self.parked.0.remove(thread);
        }
        while *parked {
            let woken = member.bell.wait(parked);
            parked = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes a thread, if it is parked.
    fn wake(&self, thread: usize) {
        let member = &self.members[thread].0;
        if std::mem::take(&mut *locked(&member.parked)) {
            self.parked.0.remove(thread);
            member.bell.notify_one();
        }
    }
}

/// A set of threads.
struct Threads(Box<[AtomicU64]>);

impl Threads {
    /// None of so many.
    fn none(threads: usize) -> Threads {
        let words = threads.div_ceil(u64::BITS as usize);
        Threads((0..words).map(|_| AtomicU64::new(0)).collect())
    }

    fn place(&self, thread: usize) -> (&AtomicU64, u64) {
        let bits = u64::BITS as usize;
        (&self.0[thread / bits], 1 << (thread % bits))
    }

    fn insert(&self, thread: usize) {
        let (word, bit) = self.place(thread);
        word.fetch_or(bit, Ordering::SeqCst);
    }

    fn remove(&self, thread: usize) {
        let (word, bit) = self.place(thread);
        word.fetch_and(!bit, Ordering::SeqCst);
    }

    /// Those in it with numbers below `end`, as words of which each begins with a number.
    fn below(&self, end: usize) -> impl Iterator<Item = (usize, u64)> {
        let bits = u64::BITS as usize;
        (0..end).step_by(bits).map(move |first| {
            let word = self.0[first / bits].load(Ordering::SeqCst);
            let left = end - first;
            let counted = if left < bits {
                (1 << left) - 1
            } else {
                u64::MAX
            };
            (first, word & counted)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many threads as there are.
    const ALL: usize = usize::MAX;

    /// How often a race is tried; Miri tries orders of its own, and is slow.
    const fn times(count: usize) -> usize {
        if cfg!(miri) { 3 } else { count }
    }

    /// Phases in which each piece adds up what the phase before left, which shows whether all of
    /// it was done; what a phase has is overwritten by the one after the next.
    struct Chain {
        pieces: Vec<usize>,
        at: AtomicUsize,
        /// Even and odd phases' values.
        values: [Vec<AtomicUsize>; 2],
        /// Pieces that take longer, or panic.
        at_piece: fn(usize, usize),
    }

    impl Chain {
        fn new(pieces: Vec<usize>, at_piece: fn(usize, usize)) -> Chain {
            let most = pieces.iter().copied().max().unwrap_or(0);
            let zeros = || (0..most).map(|_| AtomicUsize::new(0)).collect();
            Chain {
                pieces,
                at: AtomicUsize::new(0),
                values: [zeros(), zeros()],
                at_piece,
            }
        }

        fn sum(&self, phase: usize) -> usize {
            let values = &self.values[phase % 2][..self.pieces[phase]];
            let values = values.iter().map(|value| value.load(Ordering::Relaxed));
            values.sum()
        }
    }

    impl Phases for Chain {
        fn next(&self, _thread: usize) -> usize {
            let at = self.at.fetch_add(1, Ordering::Relaxed);
            if at > 0 {
                assert_eq!(self.sum(at - 1), at * self.pieces[at - 1]);
            }
            self.pieces.get(at).copied().unwrap_or(0)
        }

        fn compute(&self, _thread: usize, pieces: &mut Pieces<'_>) {
            let phase = self.at.load(Ordering::Relaxed) - 1;
            for piece in pieces {
                (self.at_piece)(phase, piece);
                if phase > 0 {
                    assert_eq!(self.sum(phase - 1), phase * self.pieces[phase - 1]);
                }
                self.values[phase % 2][piece].store(phase + 1, Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn a_phase_begins_when_all_pieces_of_the_one_before_are_done() {
        for (threads, at_once) in [(1, 1), (2, 2), (4, 4), (4, 2), (17, 17), (65, 65), (65, 2)] {
            if cfg!(miri) && threads > 4 {
                continue;
            }
            let mut pool = Pool::new(threads, at_once, Vec::new()).unwrap();
            for round in 0..times(30) {
                let pieces = (0..40).map(|phase| 1 + (7 * phase + round) % 9).collect();
                pool.run(ALL, &Chain::new(pieces, |_, _| {}));
            }
            let between = 39 * times(30) as u64;
            let barriers = if threads > 1 { between } else { 0 };
            assert_eq!(pool.coordination().barriers, barriers);
            // With other numbers of threads from run to run.
            for round in 0..times(30) {
                let pieces = (0..40).map(|phase| 1 + (7 * phase + round) % 9).collect();
                pool.run(1 + round % (at_once + 1), &Chain::new(pieces, |_, _| {}));
            }
        }
    }

    #[test]
    fn threads_that_are_held_up_join_where_the_others_are() {
        let mut pool = Pool::new(3, 3, Vec::new()).unwrap();
        for _ in 0..times(20) {
            // Longer than it takes to park.
            let slow = |phase, piece| {
                if piece == phase % 5 && phase % 3 == 0 {
                    thread::sleep(std::time::Duration::from_micros(300));
                }
            };
            pool.run(ALL, &Chain::new(vec![5; 12], slow));
        }
    }

    #[test]
    fn workers_are_woken_just_as_they_park() {
        let mut pool = Pool::new(2, 2, Vec::new()).unwrap();
        // About as long as the worker waits before it parks, found by trying; where the system
        // gives it no time, less.
        let mut spins: usize = 1000;
        for _ in 0..times(5000) {
            pool.run(ALL, &Chain::new(vec![2, 2], |_, _| {}));
            for _ in 0..spins {
                std::hint::spin_loop();
            }
            if *locked(&pool.shared.members[1].0.parked) {
                spins -= spins / 64;
            } else {
                spins = (spins + spins / 64 + 1).min(5 * SPINS);
            }
        }
    }

    #[test]
    fn a_panic_in_a_piece_or_between_phases_reaches_the_caller_and_the_pool_lives_on() {
        let mut pool = Pool::new(3, 3, Vec::new()).unwrap();
        let in_a_piece = |phase: usize, piece: usize| {
            assert!(phase != 1 || piece != 2, "on purpose");
        };
        // A sum that is asked for between phases is not what it must be.
        let between = |phase: usize, _: usize| {
            if phase == 1 {
                std::panic::resume_unwind(Box::new("on purpose"));
            }
        };
        for at_piece in [in_a_piece, between] {
            let chain = Chain::new(vec![3; 4], at_piece);
            let run = catch_unwind(AssertUnwindSafe(|| pool.run(ALL, &chain)));
            assert!(run.is_err());
            assert!(
                chain.at.load(Ordering::Relaxed) < 4,
                "the last phase is not reached"
            );
        }
        let broken = Chain::new(vec![3; 4], |_, _| {});
        broken.at.store(1, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| pool.run(ALL, &broken))).is_err());
        pool.run(ALL, &Chain::new(vec![3; 4], |_, _| {}));
    }

    #[test]
    fn only_as_many_threads_are_awake_as_there_are_cores_for() {
        static AWAKE: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let mut pool = Pool::new(8, 2, Vec::new()).unwrap();
        let count = |_, _| {
            MOST.fetch_max(AWAKE.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(std::time::Duration::from_micros(50));
            AWAKE.fetch_sub(1, Ordering::SeqCst);
        };
        // On a machine that is busy one may have done all before the other has come.
        for _ in 0..times(200) {
            pool.run(ALL, &Chain::new(vec![16; times(20)], count));
            if MOST.load(Ordering::SeqCst) >= 2 {
                break;
            }
        }
        assert!(cfg!(miri) || MOST.load(Ordering::SeqCst) == 2);
    }
}
