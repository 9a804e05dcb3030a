//! Every operation on a GPU against its CPU twin, and the GPU against itself.

use std::collections::BTreeMap;

use bitnet_backend_cpu::{CpuBackend, CpuOptions};
use bitnet_backend_wgpu::{WgpuBackend, WgpuOptions, adapters};
use bitnet_fixtures::program::product;
use bitnet_fixtures::{Noise, ProgramBuilder, Transformer};
use bitnet_kernels::compare::{OpDifference, compare_ops};
use bitnet_kernels::format::{Encoding, Format, Storage, i2_s, plain};
use bitnet_kernels::order::finite_or_nan;
use bitnet_kernels::program::{
    Activation, BufferId, CacheType, DeltaShape, Experts, LayerCache, Op, Pairing, Product,
    Program, Rope, Rows,
};
use bitnet_kernels::report::{Spent, Timing, Traffic, kind};
use bitnet_kernels::split::Split;
use bitnet_kernels::{
    Backend, Batch, Candidate, Checkpoint, Forward, Inspect, LayerContents, Output, Segment,
    SharedWeights, Telemetry, Want,
};
use libtest_mimic::{Arguments, Trial};

const BASE: Transformer = Transformer::TINY;

/// Dispatches that a layer of [`Transformer`] takes of a step of few tokens.
const DISPATCHES_PER_LAYER: u64 = 5;

/// Those of a pass beside its layers: the embedding, the last norm and the head in one, and the
/// search for the best in two.
const DISPATCHES_PER_PASS: u64 = 4;

fn gpu(shape: Transformer) -> WgpuBackend {
    let (program, weights) = shape.program();
    WgpuBackend::load(program, weights, WgpuOptions::default()).expect("the program loads")
}

fn cpu((program, weights): (Program, SharedWeights)) -> CpuBackend {
    CpuBackend::load(program, weights, CpuOptions::default()).expect("the program loads")
}

fn tokens(count: usize) -> Vec<u32> {
    let mut noise = Noise::new(3);
    (0..count).map(|_| noise.below(1500)).collect()
}

fn check(shape: Transformer, count: usize) -> Vec<OpDifference> {
    let selected = [0, count as u32 - 1];
    let selected = &selected[..count.min(2)];
    let differences = compare_ops(
        &mut cpu(shape.program()),
        &mut gpu(shape),
        &tokens(count),
        selected,
    )
    .expect("both run");
    let (program, _) = shape.program();
    for d in &differences {
        assert!(d.is_within(&program), "{count} tokens: {d:?}");
    }
    differences
}

/// Formats whose storage on the device is of some kind.
fn formats(kind: fn(Storage) -> bool) -> impl Iterator<Item = Format> {
    let stored = move |format: &Format| format.storage().is_some_and(kind);
    Format::ALL.into_iter().filter(stored)
}

fn every_linear_format_meets_its_twin() {
    for linear in formats(|_| true) {
        for count in [1, 20] {
            check(Transformer { linear, ..BASE }, count);
        }
    }
}

fn every_embedding_format_meets_its_twin() {
    for embedding in formats(Storage::embeds) {
        check(Transformer { embedding, ..BASE }, 3);
    }
}

fn activations_pairings_and_caches_meet_their_twins() {
    for (activation, pairing, cache_type, round_weights) in [
        (Activation::Silu, Pairing::Adjacent, CacheType::F32, false),
        (Activation::Silu, Pairing::Halves, CacheType::F32, true),
        (Activation::Relu2, Pairing::Adjacent, CacheType::F16, true),
    ] {
        let shape = Transformer {
            activation,
            pairing,
            cache_type,
            round_weights,
            ..BASE
        };
        check(shape, 5);
        check(shape, 600);
    }
}

fn layers_with_a_window_and_without_a_rotation_meet_their_twins() {
    for (window, cache_type, round_weights) in [
        (1, CacheType::F16, true),
        (40, CacheType::F32, false),
        (256, CacheType::F16, false),
        (257, CacheType::F16, true),
    ] {
        let shape = Transformer {
            window: Some(window),
            cache_type,
            round_weights,
            ..BASE
        };
        // One span of keys, and three, the first of which some tokens do not see at all.
        check(shape, 60);
        check(shape, 300);
    }
}

/// Tokens whose embeddings are rotated in place and go through a mixture of six experts.
fn mixture(
    linear: Format,
    used: usize,
    clamp: Option<f32>,
    pairing: Pairing,
) -> (Program, SharedWeights) {
    const HIDDEN: usize = 256;
    const WIDTH: usize = 768;
    let experts = Experts { count: 6, used };
    let routed = Rows::Routed { experts: used };
    let (floats, encoding) = (Encoding::F32, linear.encoding());
    let mut b = ProgramBuilder::new(7);
    let rotation = b.rotation(Rope::plain(64, 500_000.0, pairing));
    let h = b.buffer("h", HIDDEN, floats, Rows::Batch);
    let router_x = b.buffer("router_x", HIDDEN, floats, Rows::Batch);
    let x = b.buffer("x", HIDDEN, encoding, Rows::Batch);
    let logits = b.buffer("router", experts.count, floats, Rows::Batch);
    let chosen = b.buffer("chosen", used, floats, Rows::Batch);
    let shares = b.buffer("shares", used, floats, Rows::Batch);
    let gated = b.buffer("gated", WIDTH, floats, routed);
    let y = b.buffer("y", WIDTH, encoding, routed);
    let results = b.buffer("results", HIDDEN, floats, routed);
    let table = b.matrix("token_embd", Format::F32, 1500, HIDDEN);
    let gain = b.gain("norm", HIDDEN);
    let router = b.matrix("router", Format::F32, experts.count, HIDDEN);
    let mut all = |name, rows, cols| b.matrix(name, linear, experts.count * rows, cols);
    let gate = all("gate", WIDTH, HIDDEN);
    let up = all("up", WIDTH, HIDDEN);
    let down = all("down", HIDDEN, WIDTH);
    let norm = |out| Op::Norm {
        x: h,
        gain,
        eps: 1e-5,
        out,
    };
    let halved = |x, weight| Product {
        scale: 0.5,
        ..product(x, weight)
    };
    b.vocabulary(1500)
        .op(Op::Embed {
            table,
            scale: 30.0,
            out: h,
        })
        .op(Op::Rotate {
            x: h,
            head_dim: 64,
            rotation,
        })
        .op(norm(router_x))
        .op(norm(x))
        .op(Op::Linear {
            products: vec![(product(router_x, router), logits)],
            accumulate: false,
        })
        .op(Op::Route {
            logits,
            experts,
            chosen,
            shares,
        })
        .op(Op::GatedExperts {
            gate: product(x, gate),
            up: halved(x, up),
            activation: Activation::Silu,
            clamp,
            experts,
            chosen,
            out: gated,
        })
        .op(Op::Encode { x: gated, out: y })
        .op(Op::ExpertLinear {
            product: halved(y, down),
            experts,
            chosen,
            out: results,
        })
        .op(Op::Mix {
            x: results,
            shares,
            out: h,
        });
    b.finish()
}

fn experts_and_heads_rotated_in_place_meet_their_twins() {
    for (linear, used, clamp, pairing) in [
        (Format::TQ2_0, 2, Some(0.25), Pairing::Halves),
        (Format::TQ1_0, 3, None, Pairing::Adjacent),
        (Format::TQ2_0, 1, Some(0.5), Pairing::Adjacent),
        (Format::TQ2_0, 6, None, Pairing::Halves),
    ] {
        let made = || mixture(linear, used, clamp, pairing);
        // Whole, and with an expert's rows in two buffers.
        for max_binding in [None, Some(200_000)] {
            let options = WgpuOptions {
                max_binding,
                ..WgpuOptions::default()
            };
            let (program, weights) = made();
            let mut gpu =
                WgpuBackend::load(program.clone(), weights, options).expect("the program loads");
            for count in [1, 50] {
                let differences = compare_ops(&mut cpu(made()), &mut gpu, &tokens(count), &[0])
                    .expect("both run");
                for d in &differences {
                    assert!(d.is_within(&program), "{linear}, {count} tokens: {d:?}");
                }
            }
        }
    }
}

fn prompts_around_the_edges_of_tiles_and_spans_meet_their_twin() {
    for count in [1, 2, 63, 64, 65, 300] {
        check(BASE, count);
    }
}

/// Logits of the last token, and the best five, after a prompt cut at `cuts`.
fn last(backend: &mut dyn Backend, prompt: &[u32], cuts: &[usize]) -> (Vec<u32>, Vec<Candidate>) {
    let cache = backend.create_cache(prompt.len()).expect("a cache");
    let mut out = Output::default();
    let mut start = 0;
    let mut forward = |backend: &mut dyn Backend, start: usize, end: usize, want| {
        let batch = Batch {
            tokens: &prompt[start..end],
            segments: &[Segment {
                cache,
                start,
                len: end - start,
            }],
            selected: &[(end - start) as u32 - 1],
        };
        backend.forward(&batch, want, &mut out).expect("it runs");
        out.clone()
    };
    for cut in cuts {
        forward(backend, start, *cut, Want::Nothing);
        start = *cut;
    }
    let logits = forward(backend, start, prompt.len(), Want::Logits).logits;
    let top = forward(backend, start, prompt.len(), Want::Top(5)).top;
    backend.drop_cache(cache);
    (logits.iter().map(|x| x.to_bits()).collect(), top)
}

fn results_are_the_same_bits_for_every_split_of_a_prompt() {
    for linear in [Format::I2S, Format::TQ2_0, Format::F16] {
        for round_weights in [false, true] {
            let mut backend = gpu(Transformer {
                linear,
                round_weights,
                ..BASE
            });
            let prompt = tokens(290);
            let whole = last(&mut backend, &prompt, &[]);
            assert!(whole.0.iter().any(|bits| *bits != whole.0[0]));
            for cuts in [&[289][..], &[1, 65, 128], &[256], &[7, 14, 260, 285]] {
                assert!(
                    last(&mut backend, &prompt, cuts) == whole,
                    "{linear}, cut at {cuts:?}"
                );
            }
        }
    }
}

fn the_best_few_are_those_of_the_logits() {
    let mut backend = gpu(BASE);
    let (logits, top) = last(&mut backend, &tokens(12), &[]);
    let logits: Vec<f32> = logits.into_iter().map(f32::from_bits).collect();
    assert_eq!(top, bitnet_kernels::oracle::top(&logits, 5));
}

/// NaN and infinities get to the same logits as on the CPU, and come first among the best.
fn damage_reaches_the_logits_as_on_the_cpu() {
    let nan = half::f16::NAN.to_le_bytes();
    let infinity = half::f16::INFINITY.to_le_bytes();
    for activation in [Activation::Silu, Activation::Relu2] {
        for (linear, round_weights) in [
            (Format::I2S, false),
            (Format::TQ2_0, true),
            (Format::Q8_0, false),
        ] {
            let shape = Transformer {
                activation,
                linear,
                round_weights,
                ..BASE
            };
            let of =
                |tensor: &str, at: usize, bytes: &[u8]| (tensor.to_owned(), at, bytes.to_vec());
            let mut damages = vec![
                of("blk.0.attn_norm", 12, &f32::NAN.to_le_bytes()),
                of("blk.1.ffn_norm", 12, &f32::INFINITY.to_le_bytes()),
                of("token_embd", 2 * 600, &nan),
            ];
            let (_, mut weights) = shape.builder().parts();
            let matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate"];
            for matrix in matrices.into_iter().chain(["ffn_up", "ffn_down"]) {
                let tensor = format!("blk.1.{matrix}");
                let blocks = 3 * linear.block_bytes();
                match linear {
                    Format::I2S => {
                        let scale = weights.tensor_mut(&tensor).len() - i2_s::TRAILER_BYTES;
                        damages.push(of(&tensor, scale, &f32::NAN.to_le_bytes()));
                        damages.push(of(&tensor, scale, &1e30_f32.to_le_bytes()));
                    }
                    // A block of TQ2_0 ends with its scale, one of Q8_0 begins with it.
                    Format::TQ2_0 => damages.push(of(&tensor, blocks - 2, &infinity)),
                    _ => damages.push(of(&tensor, blocks, &infinity)),
                }
            }
            for (tensor, at, bytes) in damages {
                let (program, mut weights) = shape.builder().parts();
                weights.tensor_mut(&tensor)[at..at + bytes.len()].copy_from_slice(&bytes);
                let weights: SharedWeights = std::sync::Arc::new(weights);
                let options = WgpuOptions::default();
                let mut gpu = WgpuBackend::load(program.clone(), weights.clone(), options)
                    .expect("the program loads");
                let prompt = [&[2][..], &tokens(18)].concat();
                let (wanted, _) = last(&mut cpu((program, weights)), &prompt, &[]);
                let (found, top) = last(&mut gpu, &prompt, &[]);
                let finite = |logits: &[u32]| -> Vec<bool> {
                    let logits = logits.iter().map(|bits| f32::from_bits(*bits));
                    logits.map(f32::is_finite).collect()
                };
                let what = format!("{activation:?}, {linear}, {tensor} at {at}: {bytes:?}");
                assert!(finite(&found) == finite(&wanted), "{what}");
                assert!(finite(&wanted).contains(&false), "{what}");
                assert!(top[0].logit.is_nan(), "{what}: {top:?}");
            }
        }
    }
}

/// A program whose logits for token `id` are `rows[id]`, whatever its head computes.
fn chosen_logits(rows: &[Vec<f32>]) -> (Program, SharedWeights) {
    let mut b = ProgramBuilder::new(7);
    let width = rows[0].len();
    let h = b.buffer("h", width, Encoding::F32, Rows::Batch);
    let x = b.buffer("x", 4, Encoding::F32, Rows::Selected);
    let logits = b.buffer("logits", width, Encoding::F32, Rows::Selected);
    let mut packed = Vec::new();
    plain::pack_f32(&rows.concat(), &mut packed);
    let table = b.packed("rows", Format::F32, (rows.len(), width), &packed);
    let head = b.matrix("head", Format::F32, width, 4);
    b.vocabulary(width)
        .op(Op::Embed {
            table,
            scale: 1.0,
            out: h,
        })
        .op(Op::Head {
            product: product(x, head),
            logits,
        })
        .op(Op::Select { x: h, out: logits });
    b.finish()
}

/// Rows of noise with logits in it that are not like others, in the first chunk and across chunks.
fn odd_logits() -> Vec<Vec<f32>> {
    const ODD: [f32; 8] = [
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        -f32::NAN,
        0.0,
        -0.0,
        1e-45,
        -1e-45,
    ];
    let mut noise = Noise::new(11);
    let mut rows: Vec<Vec<f32>> = Vec::new();
    // Above all others, below all others, and nothing else.
    for offset in [-2.0, 2.0] {
        let mut row: Vec<f32> = (0..2500).map(|_| noise.even() + offset).collect();
        for i in 0..64 {
            row[(i * 1217) % 2500] = ODD[i % ODD.len()];
        }
        rows.push(row);
    }
    rows.push((0..2500).map(|i| ODD[i * 7 % ODD.len()]).collect());
    rows.push(vec![f32::NAN; 2500]);
    rows.push((0..2500).map(|i| [-0.0, 0.0][i % 2]).collect());
    rows
}

fn candidates_have_the_order_that_they_have_elsewhere() {
    let rows = odd_logits();
    let (program, weights) = chosen_logits(&rows);
    let mut backend = WgpuBackend::load(program, weights, WgpuOptions::default()).expect("loads");
    let cache = backend.create_cache(rows.len()).expect("a cache");
    let ids: Vec<u32> = (0..rows.len() as u32).collect();
    let segments = [Segment {
        cache,
        start: 0,
        len: rows.len(),
    }];
    let batch = Batch {
        tokens: &ids,
        segments: &segments,
        selected: &ids,
    };
    let mut out = Output::default();
    // A device may take subnormal numbers for 0.
    backend
        .forward(&batch, Want::Logits, &mut out)
        .expect("it runs");
    let logits = out.logits.clone();
    for (logit, wanted) in logits.iter().zip(rows.concat()) {
        let flushed = wanted.is_subnormal() && *logit == 0.0;
        assert!(flushed || logit.to_bits() == finite_or_nan(wanted).to_bits());
    }
    // The device finds up to 64, the rest is found here.
    for k in [1, 2, 17, 64, 65] {
        backend
            .forward(&batch, Want::Top(k), &mut out)
            .expect("it runs");
        let wanted: Vec<Candidate> = logits
            .chunks(rows[0].len())
            .flat_map(|row| bitnet_kernels::oracle::top(row, k))
            .collect();
        let bits = |list: &[Candidate]| -> Vec<(u32, u32)> {
            list.iter().map(|c| (c.id, c.logit.to_bits())).collect()
        };
        assert_eq!(bits(&out.top), bits(&wanted), "best {k}");
    }
}

fn sequences_of_one_batch_do_not_touch_each_other() {
    let mut backend = gpu(BASE);
    // So many tokens that products run over tiles, and so few that operations are fused.
    for (first, second) in [(12, 8), (5, 3)] {
        let prompt = tokens(first + second);
        let alone = last(&mut backend, &prompt[..first], &[]).0;
        let caches = [first, second].map(|len| backend.create_cache(len).expect("a cache"));
        let segment = |cache, len| Segment {
            cache,
            start: 0,
            len,
        };
        let batch = Batch {
            tokens: &[&prompt[first..], &prompt[..first]].concat(),
            segments: &[segment(caches[1], second), segment(caches[0], first)],
            selected: &[(first + second) as u32 - 1],
        };
        let mut out = Output::default();
        backend
            .forward(&batch, Want::Logits, &mut out)
            .expect("it runs");
        let together: Vec<u32> = out.logits.iter().map(|x| x.to_bits()).collect();
        assert_eq!(alone, together);
    }
}

fn matrices_split_over_several_buffers_give_the_same_bits() {
    for (linear, embedding) in [
        (Format::I2S, Format::F16),
        (Format::TQ1_0, Format::Q6K),
        (Format::Q8_0, Format::Q8_0),
        (Format::Q2_0, Format::Q4K),
    ] {
        let shape = Transformer {
            linear,
            embedding,
            ..BASE
        };
        let whole = last(&mut gpu(shape), &tokens(30), &[]);
        let (program, weights) = shape.program();
        let options = WgpuOptions {
            // Some forty rows of the embedding, some hundred of a ternary matrix.
            max_binding: Some(20_000),
            ..WgpuOptions::default()
        };
        let mut split = WgpuBackend::load(program, weights, options).expect("the program loads");
        assert!(
            last(&mut split, &tokens(30), &[]) == whole,
            "{linear}, {embedding}"
        );
    }
}

/// Where the time of a decode step goes, on a device that has timestamps and by the host's clock.
fn a_profile_has_every_operation_and_changes_no_bit() {
    let (program, weights) = BASE.program();
    let prompt = tokens(30);
    let plain = last(&mut gpu(BASE), &prompt, &[29]);
    for host_clock in [false, true] {
        let options = WgpuOptions {
            host_clock,
            ..WgpuOptions::default()
        };
        let mut backend =
            WgpuBackend::load(program.clone(), SharedWeights::clone(&weights), options)
                .expect("the program loads");
        assert!(backend.set_profiling(true));
        assert!(last(&mut backend, &prompt, &[29]) == plain);
        let profile = backend.profile().expect("it is being profiled");
        if host_clock {
            assert_eq!(profile.timing(), Timing::Submissions);
        }
        let spent: BTreeMap<String, Spent> = profile
            .kinds()
            .map(|(kind, spent)| (kind.to_owned(), spent))
            .collect();
        let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
        let mut ops = program.ops.iter();
        // Three passes, of which two reach the head and one searches for the best. Operations that
        // may run as one are timed as one.
        for group in [
            &["embed"][..],
            &["norm", "linear", "rope_store"],
            &["attention"],
            &["norm", "linear"],
            &["norm", "gated_linear"],
            &["encode", "linear"],
            &["norm", "linear", "rope_store"],
            &["attention"],
            &["norm", "linear"],
            &["norm", "gated_linear"],
            &["encode", "linear"],
            &["select", "norm", "head"],
        ] {
            let kinds: Vec<String> = group
                .iter()
                .map(|name| {
                    let op = ops.next().expect("an operation");
                    assert_eq!(op.name(), *name);
                    kind(&program, op)
                })
                .collect();
            let selects = group.contains(&"head");
            *wanted.entry(kinds.join(", ")).or_default() += if selects { 2 } else { 3 };
        }
        assert_eq!(ops.next(), None);
        wanted.insert("best logits".to_owned(), 1);
        let counts: BTreeMap<String, u64> = spent
            .iter()
            .map(|(kind, s)| (kind.clone(), s.count))
            .collect();
        assert_eq!(counts, wanted, "{}", profile.timing());
        assert!(
            spent.values().all(|spent| !spent.time.is_zero()),
            "{spent:?}"
        );
        assert!(backend.set_profiling(false) && backend.profile().is_none());
    }
}

/// The logits after a prompt, operation by operation: none of them is fused.
fn one_by_one(backend: &mut WgpuBackend, prompt: &[u32], few: usize) -> Vec<u32> {
    let cache = backend.create_cache(prompt.len()).expect("a cache");
    let ops = backend.program().ops.len();
    let (_, logits) = backend.program().head().expect("a head");
    for (at, tokens) in prompt.chunks(few).enumerate() {
        let batch = Batch {
            tokens,
            segments: &[Segment {
                cache,
                start: at * few,
                len: tokens.len(),
            }],
            selected: &[tokens.len() as u32 - 1],
        };
        for op in 0..ops {
            backend.run(&batch, op..op + 1).expect("it runs");
        }
    }
    let row = backend.read(logits, 1).expect("logits");
    backend.drop_cache(cache);
    row.iter().map(|x| x.to_bits()).collect()
}

/// What is fused gives the bits of the operations themselves, which the CPU judges.
fn fused_operations_give_the_bits_of_their_operations() {
    // One for each way in which weights are stored.
    let formats = [
        Format::F16,
        Format::I2S,
        Format::TQ1_0,
        Format::Q2_0,
        Format::Q8_0,
        Format::Q6K,
        Format::Q4K,
    ];
    let formats = formats.map(|linear| Transformer {
        linear,
        layers: 1,
        ..BASE
    });
    let others = [
        Transformer {
            pairing: Pairing::Adjacent,
            cache_type: CacheType::F32,
            activation: Activation::Silu,
            linear: Format::TQ2_0,
            round_weights: true,
            ..BASE
        },
        // Layers that do not rotate, and an embedding whose rows are encoded.
        Transformer {
            window: Some(5),
            embedding: Format::Q8_0,
            head_dim: 32,
            heads: 8,
            ..BASE
        },
        // Rows that are no multiple of those of a workgroup, and more vectors than one per thread.
        Transformer {
            hidden: 1280,
            ffn: 1792,
            heads: 5,
            kv_heads: 1,
            head_dim: 72,
            vocabulary: 1501,
            linear: Format::F32,
            ..BASE
        },
    ];
    let with_subgroups = formats
        .into_iter()
        .chain(others)
        .map(|shape| (shape, false));
    // Several rows to a thread.
    let without = [Format::I2S, Format::TQ2_0, Format::Q4_0];
    let without = without.map(|linear| (Transformer { linear, ..BASE }, true));
    for (shape, without_subgroups) in with_subgroups.chain(without) {
        let (program, weights) = shape.program();
        let options = WgpuOptions {
            without_subgroups,
            ..WgpuOptions::default()
        };
        let mut backend = WgpuBackend::load(program, weights, options).expect("the program loads");
        let prompt = tokens(21);
        let wanted = one_by_one(&mut backend, &prompt, 7);
        for cuts in [&[7, 14][..], &[1, 20], &[19]] {
            let (found, _) = last(&mut backend, &prompt, cuts);
            assert!(found == wanted, "{shape:?}, cut at {cuts:?}");
        }
    }
}

/// What one token behind a prompt of `depth` asks of the device.
fn traffic_of_a_step(backend: &mut WgpuBackend, depth: usize) -> Traffic {
    let cache = backend.create_cache(depth + 2).expect("a cache");
    let mut step = |start: usize, len: usize| {
        let before = backend.traffic().expect("a device of its own");
        let batch = Batch {
            tokens: &tokens(len),
            segments: &[Segment { cache, start, len }],
            selected: &[len as u32 - 1],
        };
        backend
            .forward(&batch, Want::Top(1), &mut Output::default())
            .expect("it runs");
        backend.traffic().expect("a device of its own") - before
    };
    step(0, depth);
    // Tables and buffers have grown; what is recorded ahead does not count.
    let traffic = step(depth, 1);
    assert_eq!(traffic, step(depth, 1));
    backend.drop_cache(cache);
    traffic
}

fn dispatches_submissions_and_bytes_of_a_step_are_counted() {
    // Widths and heads of BitNet b1.58 2B-4T, of which the number of dispatches could depend.
    let wide = Transformer {
        hidden: 2560,
        ffn: 6912,
        heads: 20,
        kv_heads: 5,
        head_dim: 128,
        ..BASE
    };
    // A head of more rows than there may be workgroups that each do the last norm.
    let many = Transformer {
        vocabulary: 128_256,
        ..BASE
    };
    for (shape, layers, apart) in [(BASE, 1, 0), (BASE, 3, 0), (wide, 1, 0), (many, 1, 1)] {
        let mut backend = gpu(Transformer { layers, ..shape });
        for (depth, spans) in [(5, 1), (300, 2)] {
            if depth == 300 && shape.hidden == wide.hidden {
                continue;
            }
            let traffic = traffic_of_a_step(&mut backend, depth);
            // One merge of spans per layer, where there is more than one.
            let of_a_layer = DISPATCHES_PER_LAYER + spans - 1;
            let dispatches = DISPATCHES_PER_PASS + apart + layers as u64 * of_a_layer;
            assert_eq!(traffic.dispatches, dispatches, "{layers} layers, {depth}");
            assert_eq!(traffic.submissions, 1);
            assert_eq!(traffic.uploads, 1);
            // An id and its logit.
            assert_eq!(traffic.downloaded_bytes, 8);
        }
    }
}

/// Tokens that the device takes from itself, in one submission, are those of single passes.
fn the_best_tokens_of_one_submission_are_those_of_single_passes() {
    // Over the edge of a span of keys, and from the beginning.
    for depth in [0, 252] {
        let mut backend = gpu(BASE);
        let caches = [0, 1].map(|_| backend.create_cache(depth + 9).expect("a cache"));
        let mut single = Vec::new();
        let mut out = Output::default();
        for cache in caches {
            if depth > 0 {
                let segment = Segment {
                    cache,
                    start: 0,
                    len: depth,
                };
                let batch = Batch {
                    tokens: &tokens(depth),
                    segments: &[segment],
                    selected: &[],
                };
                backend
                    .forward(&batch, Want::Nothing, &mut out)
                    .expect("it runs");
            }
        }
        let at = |cache, index| Segment {
            cache,
            start: depth + index,
            len: 1,
        };
        let mut token = 77;
        for index in 0..9 {
            let batch = Batch {
                tokens: &[token],
                segments: &[at(caches[0], index)],
                selected: &[0],
            };
            backend
                .forward(&batch, Want::Top(1), &mut out)
                .expect("it runs");
            single.extend_from_slice(&out.top);
            token = out.top[0].id;
        }
        let before = backend.traffic().expect("a device of its own");
        let mut found = Vec::new();
        for (token, index, most) in [(77, 0, 3), (single[2].id, 3, 6)] {
            backend
                .forward_greedy(token, at(caches[1], index), most, &mut out)
                .expect("it runs");
            found.extend_from_slice(&out.top);
        }
        assert_eq!(found, single, "from position {depth} on");
        let traffic = backend.traffic().expect("a device of its own") - before;
        assert_eq!((traffic.submissions, traffic.uploads), (2, 2));
        assert_eq!(traffic.downloaded_bytes, 9 * 8);
        // What they have left in the cache is the same, too.
        let layer = BASE.layers - 1;
        let kept = caches.map(|cache| backend.read_cache(cache, layer, depth + 9));
        let [first, second] = kept.map(|kept| kept.expect("keys and values"));
        assert!(first == second);
        // No room for another.
        let full = backend.forward_greedy(1, at(caches[1], 8), 2, &mut out);
        assert!(full.is_err());
    }
}

/// A program with a layer more, which keeps a state.
fn with_state() -> (Program, SharedWeights) {
    let (mut program, weights) = BASE.program();
    program.caches.push(LayerCache::State { len: 7 });
    (program, weights)
}

/// A gated delta net without what it stands in.
fn delta_net(shape: DeltaShape, columns: usize) -> (Program, SharedWeights) {
    let mut b = ProgramBuilder::new(3);
    let (hidden, inputs, outputs, heads) = (64, shape.inputs(), shape.outputs(), shape.heads);
    b.vocabulary(1500);
    let mut row = |name, width| b.buffer(name, width, Encoding::F32, Rows::Batch);
    let [h, x, z] = [("h", hidden), ("x", inputs), ("z", 2 * outputs)].map(|(n, w)| row(n, w));
    let [alpha, beta] = ["alpha", "beta"].map(|name| row(name, heads));
    let convolved = row("convolved", inputs);
    let [out, gate, other] = ["out", "gate", "other"].map(|name| row(name, outputs));
    let chosen = b.buffer("chosen", outputs, Encoding::F32, Rows::Selected);
    let table = b.matrix("table", Format::F32, 1500, hidden);
    b.op(Op::Embed {
        table,
        scale: 1.0,
        out: h,
    });
    let mut matrix = |name, out, rows| {
        let weight = b.matrix(name, Format::F32, rows, hidden);
        (
            Product {
                scale: 40.0,
                ..product(h, weight)
            },
            out,
        )
    };
    let products = vec![
        matrix("qkv", x, inputs),
        matrix("z", z, 2 * outputs),
        matrix("alpha", alpha, heads),
        matrix("beta", beta, heads),
    ];
    b.op(Op::Linear {
        products,
        accumulate: false,
    });
    let kernel = b.matrix("kernel", Format::F32, inputs, columns);
    let len = inputs * (columns - 1);
    let layer = b.cache(LayerCache::State { len });
    b.op(Op::Convolve {
        x,
        kernel,
        layer,
        out: convolved,
    });
    let bias = b.gain("bias", heads);
    let mut rates = Vec::new();
    let spread: Vec<f32> = (0..heads).map(|head| -0.05 - head as f32).collect();
    plain::pack_f32(&spread, &mut rates);
    let rate = b.packed("rate", Format::F32, (1, heads), &rates);
    let layer = b.cache(LayerCache::State { len: shape.state() });
    b.op(Op::DeltaRule {
        x: convolved,
        alpha,
        beta,
        bias,
        rate,
        shape,
        layer,
        out,
    });
    let gain = b.gain("gain", shape.size);
    b.op(Op::HeadNorm {
        x: out,
        gain,
        eps: shape.eps,
    });
    b.op(Op::Deinterleave {
        x: z,
        part: shape.size,
        outs: [gate, other],
    });
    for (gate, activation) in [(gate, Activation::Silu), (other, Activation::Sigmoid)] {
        b.op(Op::Gate {
            x: out,
            gate,
            activation,
        });
    }
    b.op(Op::Select {
        x: out,
        out: chosen,
    });
    b.finish()
}

const DELTA: DeltaShape = DeltaShape {
    heads: 6,
    key_heads: 2,
    size: 36,
    eps: 1e-6,
};

fn delta_nets_meet_their_twins() {
    let wide = DeltaShape {
        heads: 3,
        key_heads: 3,
        size: 128,
        ..DELTA
    };
    for (shape, columns, count) in [(DELTA, 4, 1), (DELTA, 4, 70), (DELTA, 2, 2), (wide, 4, 300)] {
        let (program, weights) = delta_net(shape, columns);
        let options = WgpuOptions::default();
        let mut gpu = WgpuBackend::load(program.clone(), weights, options).expect("it loads");
        let mut cpu = cpu(delta_net(shape, columns));
        let differences = compare_ops(&mut cpu, &mut gpu, &tokens(count), &[0]).expect("both run");
        for d in &differences {
            assert!(d.is_within(&program), "{count} tokens: {d:?}");
        }
    }
}

/// What the two states and the results are after a prompt, cut as given, in two sequences at once.
fn delta_net_after(gpu: &mut WgpuBackend, prompt: &[u32], cuts: &[usize]) -> Vec<u32> {
    let caches = [0, 1].map(|_| gpu.create_cache(prompt.len()).expect("a cache"));
    let ends = cuts.iter().copied().chain([prompt.len()]);
    let mut start = 0;
    for end in ends {
        let part = &prompt[start..end];
        let other: Vec<u32> = part.iter().map(|id| id + 1).collect();
        let len = part.len();
        let segments = caches.map(|cache| Segment { cache, start, len });
        let last = [len as u32 - 1, 2 * len as u32 - 1];
        let batch = Batch {
            tokens: &[part, &other].concat(),
            segments: &segments,
            selected: &last,
        };
        gpu.forward(&batch, Want::Logits, &mut Output::default())
            .expect("it runs");
        start = end;
    }
    let count = gpu.program().buffers.len() as u32 - 1;
    let mut bits = gpu.read(BufferId(count), 2).expect("results");
    for (cache, layer) in caches
        .into_iter()
        .flat_map(|cache| [(cache, 0), (cache, 1)])
    {
        match gpu.read_cache(cache, layer, 0).expect("a state") {
            LayerContents::State(state) => bits.extend(state),
            other => panic!("{other:?}"),
        }
    }
    for cache in caches {
        gpu.drop_cache(cache);
    }
    bits.into_iter().map(f32::to_bits).collect()
}

fn delta_nets_are_the_same_bits_for_every_split_of_a_prompt() {
    let (program, weights) = delta_net(DELTA, 4);
    let mut gpu = WgpuBackend::load(program, weights, WgpuOptions::default()).expect("it loads");
    let prompt: Vec<u32> = tokens(50).iter().map(|id| id % 1000).collect();
    let whole = delta_net_after(&mut gpu, &prompt, &[]);
    assert!(whole.iter().any(|bits| *bits != whole[0]));
    for cuts in [&[49][..], &[1, 2, 3], &[7, 30]] {
        assert!(
            delta_net_after(&mut gpu, &prompt, cuts) == whole,
            "{cuts:?}"
        );
    }
}

/// States start at zero, are what was written, stay from pass to pass, and never go back in
/// silence.
fn keeps_states(backend: &mut dyn Backend) {
    let layer = BASE.layers;
    let state: Vec<f32> = (0..7).map(|i| 0.5 - i as f32).collect();
    let caches = [8, 8].map(|positions| backend.create_cache(positions).expect("a cache"));
    let zero = LayerContents::State(vec![0.0; 7]);
    for cache in caches {
        assert_eq!(backend.read_cache(cache, layer, 0).expect("a state"), zero);
    }
    let state = LayerContents::State(state);
    backend
        .write_cache(caches[0], layer, &state)
        .expect("the state is taken");
    let tokens = tokens(3);
    let forward = |backend: &mut dyn Backend, cache, start, len| {
        let batch = Batch {
            tokens: &tokens[..len],
            segments: &[Segment { cache, start, len }],
            selected: &[0],
        };
        backend.forward(&batch, Want::Top(1), &mut Output::default())
    };
    forward(backend, caches[0], 0, 3).expect("a sequence starts");
    forward(backend, caches[0], 3, 1).expect("a sequence goes on");
    for start in [0, 3, 5] {
        let problem = forward(backend, caches[0], start, 1).expect_err("no way back");
        let problem = problem.to_string();
        assert!(
            problem.contains("after 4 tokens") && problem.contains("rewind"),
            "{problem}"
        );
    }
    // The way back.
    let kept = backend.checkpoint(caches[0]).expect("a checkpoint");
    assert_eq!(kept.tokens, 4);
    forward(backend, caches[0], 4, 2).expect("a sequence goes on");
    let other = LayerContents::State(vec![9.0; 7]);
    backend
        .write_cache(caches[0], layer, &other)
        .expect("the state is taken");
    backend.rewind(caches[0], Some(&kept)).expect("a way back");
    assert_eq!(
        backend.read_cache(caches[0], layer, 0).expect("a state"),
        state
    );
    forward(backend, caches[0], 4, 1).expect("it stands there");
    assert_eq!(
        backend.read_cache(caches[1], layer, 0).expect("a state"),
        zero
    );
    backend.rewind(caches[0], None).expect("a way back");
    assert_eq!(
        backend.read_cache(caches[0], layer, 0).expect("a state"),
        zero
    );
    forward(backend, caches[0], 0, 1).expect("it stands at the beginning");
    let foreign = Checkpoint {
        tokens: 1,
        states: vec![vec![1.0; 6]],
    };
    assert!(backend.rewind(caches[0], Some(&foreign)).is_err());
    let short = LayerContents::State(vec![1.0; 6]);
    let keys = LayerContents::KeysAndValues {
        keys: vec![1.0; 8],
        values: vec![1.0; 8],
    };
    for (layer, wrong) in [
        (layer, &short),
        (layer, &keys),
        (0, &state),
        (layer + 1, &state),
    ] {
        assert!(
            backend.write_cache(caches[0], layer, wrong).is_err(),
            "{layer} {wrong:?}"
        );
    }
    assert!(backend.read_cache(caches[0], layer + 1, 0).is_err());
    assert!(backend.read_cache(caches[0], 0, 1000).is_err());
}

fn the_cpu_keeps_states() {
    keeps_states(&mut cpu(with_state()));
}

fn a_gpu_keeps_states() {
    let (program, weights) = with_state();
    let options = WgpuOptions::default();
    keeps_states(&mut WgpuBackend::load(program, weights, options).expect("the program loads"));
}

fn a_program_on_two_devices_keeps_states() {
    for until in [0, 7, with_state().0.ops.len()] {
        let devices = [with_state(), with_state()].map(|model| Box::new(cpu(model)));
        let [first, second] = devices;
        keeps_states(&mut Split::new(first, second, until));
    }
}

fn operations_that_do_not_fit_what_they_name_are_refused() {
    for (change, said) in [
        (
            (|program: &mut Program| program.caches[1] = LayerCache::State { len: 7 })
                as fn(&mut Program),
            "not keys and values",
        ),
        (
            |program| {
                program.caches[1] = LayerCache::KeysAndValues {
                    kv_heads: 3,
                    head_dim: 64,
                }
            },
            "do not make heads of 64",
        ),
        (|program| program.rotations[0].dims = 66, "does not rotate"),
        (|program| program.rotations.clear(), "does not rotate"),
    ] {
        let (mut program, weights) = BASE.program();
        change(&mut program);
        let problem = CpuBackend::load(program, weights, CpuOptions::default());
        let problem = problem
            .err()
            .expect("a program that does not fit")
            .to_string();
        assert!(problem.contains(said), "{problem}");
        assert!(problem.contains("rope_store#"), "{problem}");
    }
}

fn progress_ends_at_the_whole() {
    let (program, weights) = BASE.program();
    let seen = std::rc::Rc::new(std::cell::Cell::new((0, 0)));
    let note = std::rc::Rc::clone(&seen);
    let options = WgpuOptions {
        progress: Some(Box::new(move |done, total| note.set((done, total)))),
        ..WgpuOptions::default()
    };
    WgpuBackend::load(program, weights, options).expect("the program loads");
    let (done, total) = seen.get();
    assert!(total > 0);
    assert_eq!(done, total);
}

/// A test under its own name.
macro_rules! trial {
    ($test:ident) => {
        Trial::test(stringify!($test), || {
            $test();
            Ok(())
        })
    };
}

/// Without an adapter the tests that need one are counted as ignored, which the harness of the
/// compiler cannot do.
fn main() {
    let missing = adapters().is_empty();
    if missing {
        eprintln!("NOT RUN: no adapter; install libvulkan1 and mesa-vulkan-drivers");
    }
    let on_gpu = [
        trial!(every_linear_format_meets_its_twin),
        trial!(every_embedding_format_meets_its_twin),
        trial!(activations_pairings_and_caches_meet_their_twins),
        trial!(layers_with_a_window_and_without_a_rotation_meet_their_twins),
        trial!(experts_and_heads_rotated_in_place_meet_their_twins),
        trial!(prompts_around_the_edges_of_tiles_and_spans_meet_their_twin),
        trial!(results_are_the_same_bits_for_every_split_of_a_prompt),
        trial!(the_best_few_are_those_of_the_logits),
        trial!(candidates_have_the_order_that_they_have_elsewhere),
        trial!(damage_reaches_the_logits_as_on_the_cpu),
        trial!(sequences_of_one_batch_do_not_touch_each_other),
        trial!(matrices_split_over_several_buffers_give_the_same_bits),
        trial!(a_profile_has_every_operation_and_changes_no_bit),
        trial!(fused_operations_give_the_bits_of_their_operations),
        trial!(dispatches_submissions_and_bytes_of_a_step_are_counted),
        trial!(the_best_tokens_of_one_submission_are_those_of_single_passes),
        trial!(progress_ends_at_the_whole),
        trial!(a_gpu_keeps_states),
        trial!(delta_nets_meet_their_twins),
        trial!(delta_nets_are_the_same_bits_for_every_split_of_a_prompt),
    ];
    let anywhere = [
        trial!(the_cpu_keeps_states),
        trial!(a_program_on_two_devices_keeps_states),
        trial!(operations_that_do_not_fit_what_they_name_are_refused),
    ];
    let trials = on_gpu.map(|trial| trial.with_ignored_flag(missing));
    let trials = trials.into_iter().chain(anywhere).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
