//! A persistent pool of threads that walk a program in step.
//!
//! [`Pool::run`] starts one task on all threads at once; within it, [`Team::barrier`] keeps them in
//! step. Waiting spins for a short while, since the next operation is microseconds away, then
//! yields, then (between tasks) parks. With more threads than cores nobody spins: whom one waits
//! for may need the very core. With one thread nothing is ever spawned.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

/// Iterations of a waiting loop before it yields to other threads, where each has a core.
const SPINS: usize = 4000;
/// Yields of an idle worker before it parks.
const YIELDS: usize = 200;

type Task<'a> = &'a (dyn Fn(Team<'_>) + Sync);

struct Shared {
    threads: usize,
    /// Iterations of a waiting loop before it yields.
    spins: usize,
    /// Counts tasks; a change tells workers to start.
    epoch: AtomicUsize,
    /// The task of the current epoch.
    task: UnsafeCell<Option<Task<'static>>>,
    /// Workers that have not finished the current task.
    pending: AtomicUsize,
    parked: Vec<AtomicBool>,
    stop: AtomicBool,
    panicked: AtomicBool,
    arrived: AtomicUsize,
    generation: AtomicUsize,
}

// SAFETY: `task` is written by the pool's owner only while no worker runs a task (`pending` is 0),
// and read by workers only after they saw the `epoch` that was stored after it.
unsafe impl Sync for Shared {}
// SAFETY: as above; everything else in it is `Send`.
unsafe impl Send for Shared {}

/// The threads.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<(Thread, JoinHandle<()>)>,
}

/// One thread's place in a running task.
#[derive(Clone, Copy)]
pub(crate) struct Team<'a> {
    shared: &'a Shared,
    /// This thread's number, 0 for the one that called [`Pool::run`].
    pub(crate) thread: usize,
}

impl Pool {
    /// A pool of `threads`, the caller's included.
    pub(crate) fn new(threads: usize) -> std::io::Result<Pool> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared {
            threads,
            spins: if threads > cores { 0 } else { SPINS },
            epoch: AtomicUsize::new(0),
            task: UnsafeCell::new(None),
            pending: AtomicUsize::new(0),
            parked: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            arrived: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
        });
        let mut pool = Pool {
            shared,
            workers: Vec::new(),
        };
        for thread in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let handle = thread::Builder::new()
                .name(format!("bitnet-cpu-{thread}"))
                .spawn(move || work(&shared, thread))?;
            pool.workers.push((handle.thread().clone(), handle));
        }
        Ok(pool)
    }

    pub(crate) fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Runs `task` on every thread and returns when all are done.
    pub(crate) fn run(&mut self, task: impl Fn(Team<'_>) + Sync) {
        let shared = &*self.shared;
        if self.workers.is_empty() {
            task(Team { shared, thread: 0 });
            return;
        }
        let task: Task<'_> = &task;
        // SAFETY: only the lifetime changes. Workers use the task until `pending` drops to 0, which
        // this function waits for before it returns, whether the task panics or not.
        let forever = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        // SAFETY: no task is running (`&mut self`, and the last `run` waited for all workers).
        unsafe { *shared.task.get() = Some(forever) };
        shared.pending.store(self.workers.len(), Ordering::Relaxed);
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for (number, (worker, _)) in self.workers.iter().enumerate() {
            if shared.parked[number + 1].swap(false, Ordering::SeqCst) {
                worker.unpark();
            }
        }
        let own = catch_unwind(AssertUnwindSafe(|| task(Team { shared, thread: 0 })));
        if own.is_err() {
            shared.panicked.store(true, Ordering::SeqCst);
        }
        shared.wait_until(|| shared.pending.load(Ordering::Acquire) == 0);
        shared.arrived.store(0, Ordering::Relaxed);
        let panicked = shared.panicked.swap(false, Ordering::SeqCst);
        match own {
            Err(payload) => resume_unwind(payload),
            Ok(()) => assert!(!panicked, "a CPU worker thread panicked"),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for (worker, handle) in self.workers.drain(..) {
            worker.unpark();
            // A worker's panic was already passed on by `run`.
            let _ = handle.join();
        }
    }
}

impl Team<'_> {
    /// Waits until every thread has come here.
    pub(crate) fn barrier(&self) {
        let shared = self.shared;
        if shared.threads == 1 {
            return;
        }
        let generation = shared.generation.load(Ordering::Relaxed);
        if shared.arrived.fetch_add(1, Ordering::AcqRel) + 1 == shared.threads {
            shared.arrived.store(0, Ordering::Relaxed);
            shared
                .generation
                .store(generation.wrapping_add(1), Ordering::Release);
            return;
        }
        shared.wait_until(|| {
            assert!(
                !shared.panicked.load(Ordering::Relaxed),
                "another CPU thread panicked"
            );
            shared.generation.load(Ordering::Acquire) != generation
        });
    }
}

impl Shared {
    fn wait_until(&self, mut done: impl FnMut() -> bool) {
        let mut iterations = 0;
        while !done() {
            if iterations < self.spins {
                iterations += 1;
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}

fn work(shared: &Shared, thread: usize) {
    let mut seen = 0;
    loop {
        let mut iterations = 0;
        while shared.epoch.load(Ordering::Acquire) == seen {
            iterations += 1;
            if iterations < shared.spins {
                std::hint::spin_loop();
            } else if iterations < shared.spins + YIELDS {
                thread::yield_now();
            } else {
                // A swap, since a load may overtake a plain sequentially consistent store in qemu's
                // AArch64.
                shared.parked[thread].swap(true, Ordering::SeqCst);
                if shared.epoch.load(Ordering::SeqCst) == seen {
                    thread::park();
                }
                shared.parked[thread].store(false, Ordering::SeqCst);
            }
        }
        seen = seen.wrapping_add(1);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: the epoch was stored after the task, and the owner leaves it alone until
        // `pending` is 0.
        if let Some(task) = unsafe { *shared.task.get() }
            && catch_unwind(AssertUnwindSafe(|| task(Team { shared, thread }))).is_err()
        {
            shared.panicked.store(true, Ordering::SeqCst);
        }
        shared.pending.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often a race is tried; Miri tries orders of its own, and is slow.
    const fn times(count: usize) -> usize {
        if cfg!(miri) { 3 } else { count }
    }

    #[test]
    fn all_threads_run_and_barriers_hold() {
        let mut pool = Pool::new(4).unwrap();
        for _ in 0..times(100) {
            let first = AtomicUsize::new(0);
            let second = AtomicUsize::new(0);
            pool.run(|team| {
                first.fetch_add(1, Ordering::Relaxed);
                team.barrier();
                assert_eq!(first.load(Ordering::Relaxed), 4);
                second.fetch_add(team.thread, Ordering::Relaxed);
            });
            assert_eq!(second.into_inner(), 6);
        }
    }

    #[test]
    fn workers_are_woken_just_as_they_park() {
        let mut pool = Pool::new(2).unwrap();
        // About as long as the worker waits before it parks, found by trying; where the system
        // gives it no time, less.
        let mut spins: usize = 1000;
        for _ in 0..times(5000) {
            pool.run(|team| team.barrier());
            for _ in 0..spins {
                std::hint::spin_loop();
            }
            if pool.shared.parked[1].load(Ordering::Relaxed) {
                spins -= spins / 64;
            } else {
                spins = (spins + spins / 64 + 1).min(5 * SPINS);
            }
        }
    }

    #[test]
    fn a_panic_on_one_thread_reaches_the_caller_and_the_pool_lives_on() {
        let mut pool = Pool::new(3).unwrap();
        let run = catch_unwind(AssertUnwindSafe(|| {
            pool.run(|team| {
                assert!(team.thread != 2, "on purpose");
                team.barrier();
            });
        }));
        assert!(run.is_err());
        let count = AtomicUsize::new(0);
        pool.run(|team| {
            team.barrier();
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 3);
    }
}
