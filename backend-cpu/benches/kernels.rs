//! Every kernel on every instruction set of this CPU, one thread, in the shapes of the 2B model.
//!
//! `cargo bench -p bitnet-backend-cpu`; with `-- --test` every case runs once. Either way a case is
//! run as a program of one operation, and its result must first be, to the bit, what the plain Rust
//! kernels make of it, which the crate's tests judge by the oracle.

use std::ops::Range;

use bitnet_backend_cpu::{CpuBackend, CpuOptions, Isa};
use bitnet_fixtures::program::product;
use bitnet_fixtures::{Noise, ProgramBuilder};
use bitnet_kernels::format::Encoding;
use bitnet_kernels::program::{Activation, AttentionShape, BufferId, LayerCache, Op, Rows};
use bitnet_kernels::{
    Batch, CacheId, Format, Forward, Inspect, LayerContents, Output, Program, Segment,
    SharedWeights, Want,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const WIDTH: usize = 2560;
const HEADS: usize = 20;
const KV_HEADS: usize = 5;
const HEAD_DIM: usize = 128;

/// A program whose cache has the model's keys and values.
fn builder() -> ProgramBuilder {
    let mut builder = ProgramBuilder::new(1);
    builder.vocabulary(1 << 17);
    builder.cache(LayerCache::KeysAndValues {
        kv_heads: KV_HEADS,
        head_dim: HEAD_DIM,
    });
    builder
}

/// A buffer with a row for each token.
fn buffer(
    builder: &mut ProgramBuilder,
    name: &'static str,
    width: usize,
    encoding: Encoding,
) -> BufferId {
    builder.buffer(name, width, encoding, Rows::Batch)
}

/// What is measured: the last operation of a program, on `tokens` tokens at `depth`. The others
/// prepare its input.
struct Case {
    program: Program,
    weights: SharedWeights,
    tokens: usize,
    depth: usize,
    input: BufferId,
    result: BufferId,
}

impl Case {
    /// The last operation makes `result` of what follows from `input`.
    fn new(
        builder: ProgramBuilder,
        (tokens, depth): (usize, usize),
        (input, result): (BufferId, BufferId),
    ) -> Case {
        let (program, weights) = builder.finish();
        Case {
            program,
            weights,
            tokens,
            depth,
            input,
            result,
        }
    }
}

/// A case on one instruction set.
struct Running {
    backend: CpuBackend,
    cache: CacheId,
    tokens: Vec<u32>,
    depth: usize,
}

impl Running {
    fn new(case: &Case, isa: Isa) -> Running {
        let options = CpuOptions {
            threads: Some(1),
            isa: Some(isa),
            ..CpuOptions::default()
        };
        let weights = SharedWeights::clone(&case.weights);
        let mut backend =
            CpuBackend::load(case.program.clone(), weights, options).expect("the case loads");
        let positions = case.depth + case.tokens;
        let cache = backend.create_cache(positions).expect("there is memory");
        let kept = Noise::new(3).evens(positions * KV_HEADS * HEAD_DIM);
        let contents = LayerContents::KeysAndValues {
            keys: kept.clone(),
            values: kept,
        };
        backend
            .write_cache(cache, 0, &contents)
            .expect("a cache takes keys and values");
        let width = case.program.buffer(case.input).width;
        backend
            .write(case.input, &Noise::new(2).evens(case.tokens * width))
            .expect("the input is a buffer of floats");
        let mut running = Running {
            backend,
            cache,
            tokens: vec![0; case.tokens],
            depth: case.depth,
        };
        running.run(0..case.program.ops.len());
        running
    }

    fn run(&mut self, ops: Range<usize>) {
        let segment = Segment {
            cache: self.cache,
            start: self.depth,
            len: self.tokens.len(),
        };
        let batch = Batch {
            tokens: &self.tokens,
            segments: &[segment],
            selected: &[],
        };
        self.backend.run(&batch, ops).expect("the case runs");
    }
}

/// Measures a case on every instruction set, once it has given the right result there.
fn measure(c: &mut Criterion, group: &str, name: &str, throughput: &Throughput, case: &Case) {
    let mut scalar = Running::new(case, Isa::Scalar);
    let wanted = scalar
        .backend
        .read(case.result, case.tokens)
        .expect("a result");
    let mut group = c.benchmark_group(group);
    group.throughput(throughput.clone());
    group.sample_size(20);
    let last = case.program.ops.len() - 1;
    for isa in Isa::available() {
        // Plain Rust is the measure of what is right, and too slow to measure with many tokens.
        if isa == Isa::Scalar && case.tokens > 8 {
            continue;
        }
        let mut running = Running::new(case, isa);
        let result = running
            .backend
            .read(case.result, case.tokens)
            .expect("a result");
        let same = result
            .iter()
            .zip(&wanted)
            .all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{name} on {isa} is not what plain Rust gives");
        group.bench_function(BenchmarkId::new(isa.name(), name), |b| {
            b.iter(|| running.run(last..last + 1));
        });
    }
    group.finish();
}

/// `rows x cols` in a format against `tokens`.
fn product_case(format: Format, rows: usize, cols: usize, tokens: usize) -> Case {
    let mut builder = builder();
    let input = buffer(&mut builder, "x", cols, Encoding::F32);
    let x = match format.encoding() {
        Encoding::F32 => input,
        encoding => buffer(&mut builder, "q", cols, encoding),
    };
    let result = buffer(&mut builder, "y", rows, Encoding::F32);
    let weight = builder.matrix("w", format, rows, cols);
    if x != input {
        builder.op(Op::Encode { x: input, out: x });
    }
    builder.op(Op::Linear {
        products: vec![(product(x, weight), result)],
        accumulate: false,
    });
    Case::new(builder, (tokens, 0), (input, result))
}

fn products(c: &mut Criterion) {
    let ternary = [
        Format::I2S,
        Format::TQ1_0,
        Format::TQ2_0,
        Format::Q1_0,
        Format::Q2_0,
        Format::PTQ1_0,
    ];
    for (family, tokens) in [("gemv", 1), ("batch", 8), ("gemm", 128)] {
        for format in ternary {
            for (rows, cols) in [(2560, 2560), (1024, 6912)] {
                let name = format!("{format}/{rows}x{cols}/{tokens}");
                let work = Throughput::Elements((rows * cols * tokens) as u64);
                measure(
                    c,
                    family,
                    &name,
                    &work,
                    &product_case(format, rows, cols, tokens),
                );
            }
        }
    }
    let heads = [
        Format::F16,
        Format::Q8_0,
        Format::Q6K,
        Format::Q5K,
        Format::Q4K,
        Format::Q4_0,
    ];
    for format in heads {
        for tokens in [1, 8] {
            let (rows, cols) = (2048, WIDTH);
            let name = format!("{format}/{rows}x{cols}/{tokens}");
            let work = Throughput::Elements((rows * cols * tokens) as u64);
            measure(
                c,
                "head",
                &name,
                &work,
                &product_case(format, rows, cols, tokens),
            );
        }
    }
}

fn activations(c: &mut Criterion) {
    for encoding in [Encoding::I8, Encoding::Q8K, Encoding::Q8_0] {
        let mut builder = builder();
        let input = buffer(&mut builder, "x", WIDTH, Encoding::F32);
        let result = buffer(&mut builder, "q", WIDTH, encoding);
        builder.op(Op::Encode {
            x: input,
            out: result,
        });
        let case = Case::new(builder, (16, 0), (input, result));
        let work = Throughput::Elements((16 * WIDTH) as u64);
        measure(
            c,
            "encode",
            &format!("{encoding:?}/{WIDTH}/16"),
            &work,
            &case,
        );
    }
    let mut builder = builder();
    let input = buffer(&mut builder, "x", WIDTH, Encoding::F32);
    let result = buffer(&mut builder, "y", WIDTH, Encoding::F32);
    let gain = builder.gain("gain", WIDTH);
    builder.op(Op::Norm {
        x: input,
        gain,
        eps: 1e-5,
        out: result,
    });
    let case = Case::new(builder, (16, 0), (input, result));
    let work = Throughput::Elements((16 * WIDTH) as u64);
    measure(c, "norm", &format!("{WIDTH}/16"), &work, &case);
}

fn gated(c: &mut Criterion) {
    let (rows, cols) = (1024, WIDTH);
    let mut builder = builder();
    let input = buffer(&mut builder, "x", cols, Encoding::F32);
    let x = buffer(&mut builder, "q", cols, Encoding::I8);
    let result = buffer(&mut builder, "y", rows, Encoding::F32);
    let [gate, up] =
        ["gate", "up"].map(|name| product(x, builder.matrix(name, Format::I2S, rows, cols)));
    builder.op(Op::Encode { x: input, out: x });
    builder.op(Op::GatedLinear {
        gate,
        up,
        activation: Activation::Relu2,
        out: result,
    });
    let case = Case::new(builder, (1, 0), (input, result));
    let work = Throughput::Elements((2 * rows * cols) as u64);
    measure(c, "gated", &format!("I2_S/{rows}x{cols}/1"), &work, &case);
}

fn attention(c: &mut Criterion) {
    for (tokens, depth) in [(1, 0), (1, 511), (1, 2047), (8, 504)] {
        let mut builder = builder();
        let input = buffer(&mut builder, "q", HEADS * HEAD_DIM, Encoding::F32);
        let result = buffer(&mut builder, "y", HEADS * HEAD_DIM, Encoding::F32);
        builder.op(Op::Attention {
            q: input,
            shape: AttentionShape {
                heads: HEADS,
                kv_heads: KV_HEADS,
                head_dim: HEAD_DIM,
                scale: 1.0 / (HEAD_DIM as f32).sqrt(),
                window: None,
                round_weights: false,
            },
            layer: 0,
            out: result,
        });
        let case = Case::new(builder, (tokens, depth), (input, result));
        let seen = tokens * depth + tokens * (tokens + 1) / 2;
        let work = Throughput::Elements((seen * 2 * HEADS * HEAD_DIM) as u64);
        measure(
            c,
            "attention",
            &format!("{tokens} at {depth}"),
            &work,
            &case,
        );
    }
}

/// The best logit of a head, through its screen and, with all logits wanted, without.
fn search(c: &mut Criterion) {
    let (rows, cols) = (16384, WIDTH);
    let mut builder = builder();
    builder.vocabulary(rows);
    let x = builder.buffer("x", cols, Encoding::F32, Rows::Selected);
    let logits = builder.buffer("logits", rows, Encoding::F32, Rows::Selected);
    let weight = builder.matrix("head", Format::F16, rows, cols);
    builder.op(Op::Head {
        product: product(x, weight),
        logits,
    });
    let (program, weights) = builder.finish();
    let mut group = c.benchmark_group("search");
    group.throughput(Throughput::Elements((rows * cols) as u64));
    group.sample_size(20);
    for isa in Isa::available() {
        let options = CpuOptions {
            threads: Some(1),
            isa: Some(isa),
            ..CpuOptions::default()
        };
        let source = SharedWeights::clone(&weights);
        let mut backend =
            CpuBackend::load(program.clone(), source, options).expect("the head loads");
        let cache = backend.create_cache(1).expect("there is memory");
        backend
            .write(x, &Noise::new(2).evens(cols))
            .expect("a buffer of floats");
        let mut out = Output::default();
        let mut run = |want: Want, out: &mut Output| {
            let segment = Segment {
                cache,
                start: 0,
                len: 1,
            };
            let batch = Batch {
                tokens: &[0],
                segments: &[segment],
                selected: &[0],
            };
            backend.forward(&batch, want, out).expect("the head runs");
        };
        run(Want::Logits, &mut out);
        let wanted = bitnet_kernels::oracle::top(&out.logits, 1);
        // The screen is made by the first passes.
        for _ in 0..20 {
            run(Want::Top(1), &mut out);
            assert_eq!(out.top, wanted, "the best logit on {isa}");
        }
        for (name, want) in [("best", Want::Top(1)), ("all", Want::Logits)] {
            if isa == Isa::Scalar && want == Want::Logits {
                continue;
            }
            group.bench_function(BenchmarkId::new(isa.name(), name), |b| {
                b.iter(|| run(want, &mut out));
            });
        }
    }
    group.finish();
}

criterion_group!(kernels, products, activations, gated, attention, search);
criterion_main!(kernels);
