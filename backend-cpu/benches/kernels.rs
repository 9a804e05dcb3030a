//! Every kernel on every instruction set of this CPU, one thread, in the shapes of the 2B model.
//!
//! `cargo bench -p bitnet-backend-cpu`; with `-- --test` every case runs once. Either way a case is
//! run as a program of one operation, and its result must first be, to the bit, what the plain Rust
//! kernels make of it, which the crate's tests judge by the oracle.

use std::ops::Range;
use std::sync::Arc;

use bitnet_backend_cpu::{CpuBackend, CpuOptions, Isa};
use bitnet_fixtures::{Memory, Noise, weights};
use bitnet_kernels::format::Encoding;
use bitnet_kernels::program::{
    Activation, AttentionShape, BufferDesc, BufferId, CacheType, LayerCache, Op, Product, Rows,
    WeightDesc, WeightId,
};
use bitnet_kernels::{
    Batch, CacheId, Format, Forward, Inspect, LayerContents, Output, Program, Segment, Want,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const WIDTH: usize = 2560;
const HEADS: usize = 20;
const KV_HEADS: usize = 5;
const HEAD_DIM: usize = 128;

/// A program under construction.
struct Builder {
    program: Program,
    weights: Memory,
}

impl Builder {
    fn new() -> Builder {
        let program = Program {
            buffers: Vec::new(),
            weights: Vec::new(),
            rotations: Vec::new(),
            caches: vec![LayerCache::KeysAndValues {
                kv_heads: KV_HEADS,
                head_dim: HEAD_DIM,
            }],
            cache_type: CacheType::F16,
            ops: Vec::new(),
            vocabulary: 1 << 17,
        };
        Builder {
            program,
            weights: Memory::default(),
        }
    }

    fn buffer(&mut self, name: &'static str, width: usize, encoding: Encoding) -> BufferId {
        self.program.buffers.push(BufferDesc {
            name,
            width,
            encoding,
            rows: Rows::Batch,
        });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    fn weight(&mut self, name: &str, format: Format, rows: usize, cols: usize) -> WeightId {
        let bytes = weights::matrix(format, rows, cols, 1, name);
        self.weights.add(name, &bytes);
        self.program.weights.push(WeightDesc {
            name: name.to_owned(),
            format,
            rows,
            cols,
        });
        WeightId(self.program.weights.len() as u32 - 1)
    }

    /// The case of the last operation, which makes `result` of what follows from `input`.
    fn case(self, tokens: usize, depth: usize, input: BufferId, result: BufferId) -> Case {
        Case {
            program: self.program,
            weights: Arc::new(self.weights),
            tokens,
            depth,
            input,
            result,
        }
    }
}

/// What is measured: the last operation of a program, on `tokens` tokens at `depth`. The others
/// prepare its input.
struct Case {
    program: Program,
    weights: Arc<Memory>,
    tokens: usize,
    depth: usize,
    input: BufferId,
    result: BufferId,
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
        };
        let weights = Arc::clone(&case.weights);
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
fn product(format: Format, rows: usize, cols: usize, tokens: usize) -> Case {
    let mut builder = Builder::new();
    let input = builder.buffer("x", cols, Encoding::F32);
    let x = match format.encoding() {
        Encoding::F32 => input,
        encoding => builder.buffer("q", cols, encoding),
    };
    let result = builder.buffer("y", rows, Encoding::F32);
    let weight = builder.weight("w", format, rows, cols);
    if x != input {
        builder.program.ops.push(Op::Encode { x: input, out: x });
    }
    let product = Product {
        x,
        weight,
        scale: 1.0,
    };
    builder.program.ops.push(Op::Linear {
        products: vec![(product, result)],
        accumulate: false,
    });
    builder.case(tokens, 0, input, result)
}

fn products(c: &mut Criterion) {
    let ternary = [Format::I2S, Format::TQ1_0, Format::TQ2_0];
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
                    &product(format, rows, cols, tokens),
                );
            }
        }
    }
    for format in [Format::F16, Format::Q8_0, Format::Q6K] {
        for tokens in [1, 8] {
            let (rows, cols) = (2048, WIDTH);
            let name = format!("{format}/{rows}x{cols}/{tokens}");
            let work = Throughput::Elements((rows * cols * tokens) as u64);
            measure(
                c,
                "head",
                &name,
                &work,
                &product(format, rows, cols, tokens),
            );
        }
    }
}

fn activations(c: &mut Criterion) {
    for encoding in [Encoding::I8, Encoding::Q8K, Encoding::Q8_0] {
        let mut builder = Builder::new();
        let input = builder.buffer("x", WIDTH, Encoding::F32);
        let result = builder.buffer("q", WIDTH, encoding);
        builder.program.ops.push(Op::Encode {
            x: input,
            out: result,
        });
        let case = builder.case(16, 0, input, result);
        let work = Throughput::Elements((16 * WIDTH) as u64);
        measure(
            c,
            "encode",
            &format!("{encoding:?}/{WIDTH}/16"),
            &work,
            &case,
        );
    }
    let mut builder = Builder::new();
    let input = builder.buffer("x", WIDTH, Encoding::F32);
    let result = builder.buffer("y", WIDTH, Encoding::F32);
    let gain = builder.weight("gain", Format::F32, 1, WIDTH);
    builder.program.ops.push(Op::Norm {
        x: input,
        gain,
        eps: 1e-5,
        out: result,
    });
    let case = builder.case(16, 0, input, result);
    let work = Throughput::Elements((16 * WIDTH) as u64);
    measure(c, "norm", &format!("{WIDTH}/16"), &work, &case);
}

fn gated(c: &mut Criterion) {
    let (rows, cols) = (1024, WIDTH);
    let mut builder = Builder::new();
    let input = builder.buffer("x", cols, Encoding::F32);
    let x = builder.buffer("q", cols, Encoding::I8);
    let result = builder.buffer("y", rows, Encoding::F32);
    let [gate, up] = ["gate", "up"].map(|name| Product {
        x,
        weight: builder.weight(name, Format::I2S, rows, cols),
        scale: 1.0,
    });
    builder.program.ops.push(Op::Encode { x: input, out: x });
    builder.program.ops.push(Op::GatedLinear {
        gate,
        up,
        activation: Activation::Relu2,
        out: result,
    });
    let case = builder.case(1, 0, input, result);
    let work = Throughput::Elements((2 * rows * cols) as u64);
    measure(c, "gated", &format!("I2_S/{rows}x{cols}/1"), &work, &case);
}

fn attention(c: &mut Criterion) {
    for (tokens, depth) in [(1, 0), (1, 511), (1, 2047), (8, 504)] {
        let mut builder = Builder::new();
        let input = builder.buffer("q", HEADS * HEAD_DIM, Encoding::F32);
        let result = builder.buffer("y", HEADS * HEAD_DIM, Encoding::F32);
        builder.program.ops.push(Op::Attention {
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
        let case = builder.case(tokens, depth, input, result);
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
    let mut builder = Builder::new();
    builder.program.vocabulary = rows;
    let x = builder.buffer("x", cols, Encoding::F32);
    let logits = builder.buffer("logits", rows, Encoding::F32);
    let weight = builder.weight("head", Format::F16, rows, cols);
    let product = Product {
        x,
        weight,
        scale: 1.0,
    };
    for buffer in &mut builder.program.buffers {
        buffer.rows = Rows::Selected;
    }
    builder.program.ops.push(Op::Head { product, logits });
    let weights = Arc::new(builder.weights);
    let mut group = c.benchmark_group("search");
    group.throughput(Throughput::Elements((rows * cols) as u64));
    group.sample_size(20);
    for isa in Isa::available() {
        let options = CpuOptions {
            threads: Some(1),
            isa: Some(isa),
        };
        let source = Arc::clone(&weights);
        let mut backend =
            CpuBackend::load(builder.program.clone(), source, options).expect("the head loads");
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
