//! How fast memory is read where runs of bytes are left out at random: whether leaving out weights
//! pays, and in runs of which length. Two threads, far beyond the caches; throughput counts what is
//! read.

use std::hint::black_box;
use std::thread;

use bitnet_fixtures::Noise;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

/// Bytes in all.
const BYTES: usize = 1 << 30;
const THREADS: usize = 2;

/// Adds up the numbers of the listed runs.
fn read(numbers: &[u64], run: usize, list: &[usize]) -> u64 {
    let sum = |of: &[u64]| of.iter().fold(0_u64, |sum, x| sum.wrapping_add(*x));
    let runs = list.iter().map(|i| sum(&numbers[i * run..(i + 1) * run]));
    runs.fold(0, u64::wrapping_add)
}

fn reading(c: &mut Criterion) {
    let numbers = vec![1_u64; BYTES / size_of::<u64>()];
    let share = numbers.len() / THREADS;
    let mut group = c.benchmark_group("read");
    group.sample_size(10);
    // A line, two, and rows of 2560 and 6912 weights of two bits.
    for bytes in [64, 128, 640, 1728] {
        for kept in [100, 50, 40, 33, 20] {
            let run = bytes / size_of::<u64>();
            let mut noise = Noise::new(1);
            let lists: Vec<Vec<usize>> = (0..THREADS)
                .map(|_| {
                    (0..share / run)
                        .filter(|_| noise.below(100) < kept)
                        .collect()
                })
                .collect();
            let listed: usize = lists.iter().map(Vec::len).sum();
            group.throughput(Throughput::Bytes((listed * bytes) as u64));
            let id = BenchmarkId::new(format!("runs of {bytes} bytes"), format!("{kept} %"));
            group.bench_function(id, |b| {
                b.iter(|| {
                    thread::scope(|scope| {
                        for (numbers, list) in numbers.chunks(share).zip(&lists) {
                            scope.spawn(move || black_box(read(numbers, run, list)));
                        }
                    });
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, reading);
criterion_main!(benches);
