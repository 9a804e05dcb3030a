//! Damage of a weight reaches the logits: on every instruction set, in every batch, for any number
//! of threads, whichever weight it is.

use std::sync::Arc;

use bitnet_backend_cpu::{CpuBackend, CpuOptions, Isa};
use bitnet_fixtures::{Memory, Noise, Transformer};
use bitnet_kernels::program::{Activation, CacheType};
use bitnet_kernels::{Batch, Format, Forward, Output, Program, Segment, Want};

const MODEL: Transformer = Transformer {
    vocabulary: 300,
    ..Transformer::TINY
};

/// The values that damage leaves in a scale or a weight of 32 bits.
const DAMAGE: [f32; 3] = [f32::NAN, f32::NEG_INFINITY, 1e30];

/// The tokens that are read; the last one's logits are looked at.
fn tokens() -> Vec<u32> {
    let mut noise = Noise::new(3);
    (0..20)
        .map(|_| noise.below(MODEL.vocabulary as u32))
        .collect()
}

/// The logits of the last token and the best few of them, read in passes that end at `cuts`.
fn last(program: &Program, weights: &Arc<Memory>, options: CpuOptions, cuts: &[usize]) -> Output {
    let weights = Arc::clone(weights);
    let mut backend = CpuBackend::load(program.clone(), weights, options).expect("it loads");
    let tokens = tokens();
    let mut result = Output::default();
    for want in [Want::Top(3), Want::Logits] {
        let cache = backend.create_cache(tokens.len()).expect("a cache");
        let mut out = Output::default();
        let mut start = 0;
        for end in cuts.iter().copied().chain([tokens.len()]) {
            let batch = Batch {
                tokens: &tokens[start..end],
                segments: &[Segment {
                    cache,
                    start,
                    len: end - start,
                }],
                selected: &[(end - start) as u32 - 1],
            };
            backend.forward(&batch, want, &mut out).expect("it runs");
            start = end;
        }
        match want {
            Want::Logits => result.logits = out.logits,
            _ => result.top = out.top,
        }
    }
    result
}

fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|logit| logit.to_bits()).collect()
}

/// Threads, and where a prompt is cut into passes.
const WAYS: [(usize, &[usize]); 3] = [(1, &[]), (2, &[1, 9]), (3, &[13])];

/// Runs a damaged model in many ways, and checks that all ways agree and that damage is seen among
/// the logits and among the best few.
fn check(what: &str, (program, weights): (Program, Memory)) {
    let weights = Arc::new(weights);
    let mut wanted: Option<Output> = None;
    for (i, isa) in Isa::available().into_iter().enumerate() {
        // Two of the ways for each instruction set.
        for way in [i, i + 1] {
            let (threads, cuts) = WAYS[way % WAYS.len()];
            let options = CpuOptions {
                threads: Some(threads),
                isa: Some(isa),
                ..CpuOptions::default()
            };
            let found = last(&program, &weights, options, cuts);
            let what = format!("{what} on {isa} with {threads} threads, cut at {cuts:?}");
            let damaged = found.logits.iter().any(|logit| logit.is_nan());
            assert!(damaged, "{what}: no logit is NaN");
            assert!(found.top[0].logit.is_nan(), "{what}: {:?}", found.top);
            let wanted = wanted.get_or_insert_with(|| found.clone());
            assert!(
                bits(&found.logits) == bits(&wanted.logits),
                "{what}: other logits than those of {}",
                Isa::Scalar
            );
        }
    }
}

/// Every matrix of a layer, by name.
const MATRICES: [&str; 7] = [
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_gate",
    "ffn_up",
    "ffn_down",
];

#[test]
fn a_damaged_scale_of_a_tensor_reaches_the_logits() {
    for activation in [Activation::Silu, Activation::Relu2] {
        for matrix in MATRICES {
            for damage in DAMAGE {
                let model = Transformer {
                    activation,
                    ..MODEL
                };
                let (program, mut weights) = model.builder().parts();
                let tensor = weights.tensor_mut(&format!("blk.1.{matrix}"));
                let scale = tensor.len() - 32;
                tensor[scale..scale + 4].copy_from_slice(&damage.to_le_bytes());
                check(
                    &format!("{activation:?}, {matrix} times {damage}"),
                    (program, weights),
                );
            }
        }
    }
}

#[test]
fn a_damaged_scale_of_a_block_reaches_the_logits() {
    for (linear, cache_type) in [
        (Format::TQ1_0, CacheType::F16),
        (Format::TQ2_0, CacheType::F32),
    ] {
        for matrix in MATRICES {
            for damage in [f32::NAN, f32::INFINITY] {
                let model = Transformer {
                    linear,
                    cache_type,
                    ..MODEL
                };
                let (program, mut weights) = model.builder().parts();
                let tensor = weights.tensor_mut(&format!("blk.1.{matrix}"));
                // A block ends with its scale.
                let end = 5 * linear.block_bytes();
                tensor[end - 2..end].copy_from_slice(&half::f16::from_f32(damage).to_le_bytes());
                check(
                    &format!("{linear} in {cache_type:?}, a block of {matrix} times {damage}"),
                    (program, weights),
                );
            }
        }
    }
}

#[test]
fn a_damaged_gain_or_row_of_the_embedding_reaches_the_logits() {
    let row = tokens()[7] as usize;
    for damage in DAMAGE {
        for (tensor, at) in [
            ("blk.0.attn_norm", 3),
            ("blk.1.attn_sub_norm", 100),
            ("blk.1.ffn_norm", 255),
            ("output_norm", 0),
            ("token_embd", row * MODEL.hidden + 17),
        ] {
            // A gain that is finite makes finite logits, where no norm follows.
            if tensor == "output_norm" && damage.is_finite() {
                continue;
            }
            let model = Transformer {
                embedding: Format::F32,
                ..MODEL
            };
            let (program, mut weights) = model.builder().parts();
            let bytes = &mut weights.tensor_mut(tensor)[4 * at..4 * at + 4];
            bytes.copy_from_slice(&damage.to_le_bytes());
            check(&format!("{tensor} holds {damage}"), (program, weights));
        }
    }
}
