//! What the machine can do at most, with the threads and the instructions in use.

use std::io;
use std::time::{Duration, Instant};

use bitnet_kernels::Limits;

use crate::isa::table::Kernels;
use crate::memory::pages::{Pages, Plain};
use crate::threads::pool::Pool;

/// Bytes to read, far beyond any cache.
const BYTES: usize = 256 << 20;
/// How often they are read; the fastest time counts, since other programs can only take from it.
const READS: usize = 12;
/// Parts of them that each thread should find.
const PARTS: usize = 16;
/// Time for which the threads multiply at least, and how often.
const MULTIPLYING: Duration = Duration::from_millis(10);
const REPETITIONS: usize = 8;
/// Rounds of multiplications that a thread begins with.
const ROUNDS: u64 = 1000;

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
    let parts = PARTS * pool.at_once();
    let part = BYTES / parts;
    let bytes = |n: usize| n * part..(n + 1) * part;
    // Memory that nobody wrote to is one page of zeros.
    pool.each(parts, |n| {
        // SAFETY: the part is this piece's alone.
        unsafe { pages.write(bytes(n)) }.fill(0);
    });
    let mut best = Duration::MAX;
    for _ in 0..READS {
        let start = Instant::now();
        pool.each(parts, |n| {
            // SAFETY: nobody writes any more.
            std::hint::black_box((kernels.read)(unsafe { pages.read(bytes(n)) }));
        });
        best = best.min(start.elapsed());
    }
    Ok((part * parts) as f64 / best.as_secs_f64())
}

fn multiply_adds(pool: &mut Pool, kernels: &Kernels) -> f64 {
    let threads = pool.at_once();
    let mut rounds = ROUNDS;
    let mut best = 0.0_f64;
    let mut measured = 0;
    while measured < REPETITIONS {
        let start = Instant::now();
        pool.each(threads, |_| {
            std::hint::black_box((kernels.peak.run)(rounds));
        });
        let time = start.elapsed();
        if time < MULTIPLYING {
            rounds *= 2;
            continue;
        }
        let products = (threads as u64 * rounds * kernels.peak.per_round) as f64;
        best = best.max(products / time.as_secs_f64());
        measured += 1;
    }
    best
}
