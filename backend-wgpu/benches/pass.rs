//! Time of a forward pass of the 2B-4T shape, with weights of noise: `cargo bench -p
//! bitnet-backend-wgpu`.
//!
//! Prints decode and prefill rates, then where the time of a pass goes, with the share of weights
//! read.

use std::time::Instant;

use bitnet_backend_wgpu::{WgpuBackend, WgpuOptions, adapters};
use bitnet_fixtures::{Noise, Transformer};
use bitnet_kernels::program::{Op, Program};
use bitnet_kernels::report::kind;
use bitnet_kernels::{Batch, CacheId, Forward, Output, Segment, Telemetry, Want};

const SHAPE: Transformer = Transformer {
    layers: 30,
    hidden: 2560,
    ffn: 6912,
    heads: 20,
    kv_heads: 5,
    head_dim: 128,
    vocabulary: 128_256,
    ..Transformer::TINY
};

fn main() {
    for adapter in adapters() {
        println!(
            "gpu:{} {} {} {} {:?} auto={}",
            adapter.index,
            adapter.name,
            adapter.backend,
            adapter.kind,
            adapter.features,
            adapter.auto
        );
    }
    let layers = std::env::var("BENCH_LAYERS")
        .ok()
        .and_then(|text| text.parse().ok());
    let shape = Transformer {
        layers: layers.unwrap_or(SHAPE.layers),
        ..SHAPE
    };
    let (program, weights) = shape.program();
    let started = Instant::now();
    let mut backend = match WgpuBackend::load(program.clone(), weights, WgpuOptions::default()) {
        Ok(backend) => backend,
        Err(error) => return println!("not run: {error}"),
    };
    println!("{}, loaded in {:.2?}", backend.device(), started.elapsed());
    let cache = backend.create_cache(4096).expect("a cache");
    for depth in [0, 512, 2048] {
        fill(&mut backend, cache, depth);
        let seconds = median(30, || step(&mut backend, cache, depth, 1));
        println!(
            "decode at depth {depth}: {:.1} tok/s ({:.3} ms)",
            1.0 / seconds,
            seconds * 1e3
        );
        profile(&mut backend, &program, cache, depth, 1);
    }
    for tokens in [16, 128, 512] {
        let seconds = median(5, || step(&mut backend, cache, 0, tokens));
        println!(
            "prefill {tokens}: {:.0} tok/s ({:.2} ms)",
            tokens as f64 / seconds,
            seconds * 1e3
        );
        profile(&mut backend, &program, cache, 0, tokens);
    }
}

fn fill(backend: &mut WgpuBackend, cache: CacheId, depth: usize) {
    for start in (0..depth).step_by(512) {
        step(backend, cache, start, 512.min(depth - start));
    }
}

fn ids(count: usize) -> Vec<u32> {
    let mut noise = Noise::new(count as u64);
    (0..count).map(|_| noise.below(128_256)).collect()
}

fn step(backend: &mut WgpuBackend, cache: CacheId, start: usize, len: usize) {
    let batch = Batch {
        tokens: &ids(len),
        segments: &[Segment { cache, start, len }],
        selected: &[len as u32 - 1],
    };
    let mut out = Output::default();
    backend
        .forward(&batch, Want::Top(1), &mut out)
        .expect("it runs");
    assert_eq!(out.top.len(), 1);
}

fn median(runs: usize, mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

/// Bytes of weights that the operations of a kind, or of several that run as one, read in one pass.
fn bytes_of(program: &Program, wanted: &str) -> usize {
    let is_wanted = |op: &&Op| wanted.split(", ").any(|wanted| kind(program, op) == wanted);
    let ops = program.ops.iter().filter(is_wanted);
    ops.flat_map(Op::products)
        .filter_map(|product| {
            let w = program.weight(product.weight);
            w.format.matrix_bytes(w.rows, w.cols)
        })
        .sum()
}

fn profile(backend: &mut WgpuBackend, program: &Program, cache: CacheId, start: usize, len: usize) {
    assert!(
        backend.set_profiling(true),
        "a GPU tells where its time goes"
    );
    step(backend, cache, start, len);
    let profile = backend.profile().expect("it is being profiled");
    println!("  timed by {}", profile.timing());
    for (kind, spent) in profile.kinds() {
        let seconds = spent.time.as_secs_f64();
        println!(
            "  {kind:40} x{:3} {:9.1} us {:8.1} GB/s of weights",
            spent.count,
            seconds * 1e6,
            bytes_of(program, kind) as f64 / seconds / 1e9
        );
    }
    backend.set_profiling(false);
}
