//! What the machine can do at most, with the threads and the instructions in use.

use std::io;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use bitnet_kernels::Limits;

use crate::isa::table::Kernels;
use crate::memory::pages::{Pages, Plain};
use crate::threads::pool::Pool;

/// Bytes to read, far beyond any cache.
const BYTES: usize = 256 << 20;
/// How often they are read; the fastest time counts, since other programs can only take from it.
const READS: usize = 12;
/// Time for which each thread multiplies, and how often.
const MULTIPLYING: Duration = Duration::from_millis(10);
const REPETITIONS: usize = 8;

// SAFETY: any byte is a u8.
unsafe impl Plain for u8 {}

/// Measures both limits.
pub(crate) fn measure(pool: &mut Pool, kernels: &Kernels) -> io::Result<Limits> {
    Ok(Limits {
        read_bandwidth: read_bandwidth(pool, kernels)?,
        multiply_adds: multiply_adds(pool, kernels),
    })
}

fn read_bandwidth(pool: &mut Pool, kernels: &Kernels) -> io::Result<f64> {
    let pages = Pages::<u8>::new(BYTES)?;
    let share = BYTES / pool.threads();
    let mine = |thread: usize| thread * share..(thread + 1) * share;
    // Memory that nobody wrote to is one page of zeros.
    pool.run(|team| {
        // SAFETY: the share is this thread's alone.
        unsafe { pages.write(mine(team.thread)) }.fill(0);
    });
    let mut best = Duration::MAX;
    for _ in 0..READS {
        let start = Instant::now();
        pool.run(|team| {
            // SAFETY: nobody writes any more.
            std::hint::black_box((kernels.read)(unsafe { pages.read(mine(team.thread)) }));
        });
        best = best.min(start.elapsed());
    }
    Ok((share * pool.threads()) as f64 / best.as_secs_f64())
}

fn multiply_adds(pool: &mut Pool, kernels: &Kernels) -> f64 {
    let rates = Mutex::new(Vec::new());
    let mut best = 0.0_f64;
    for _ in 0..REPETITIONS {
        pool.run(|team| {
            team.barrier();
            let (start, mut rounds) = (Instant::now(), 0);
            while start.elapsed() < MULTIPLYING {
                std::hint::black_box((kernels.peak.run)(1000));
                rounds += 1000;
            }
            let rate = (rounds * kernels.peak.per_round) as f64 / start.elapsed().as_secs_f64();
            if let Ok(mut rates) = rates.lock() {
                rates.push(rate);
            }
        });
        if let Ok(mut rates) = rates.lock() {
            best = best.max(rates.drain(..).sum());
        }
    }
    best
}
