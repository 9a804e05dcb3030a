//! A wrong kernel is caught, and the report names where: our side is altered on purpose and
//! compared with a lane.
//!
//! The alterations are made to the program or to the weights before the backend sees them; nothing
//! of this is in what users run.

#![cfg(feature = "crossval-cpp")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitnet_crossval::compare::{
    Comparison, Ours, Part, Prompt, Question, Thresholds, Transcode, compare,
};
use bitnet_crossval::lane::{Home, Lane, Limits};
use bitnet_engine::Model;
use bitnet_engine::cpu::{CpuBackend, CpuOptions};
use bitnet_engine::gguf::Gguf;
use bitnet_engine::kernels::WeightSource;
use bitnet_engine::kernels::program::{Activation, Op, Pairing, Product, Program};
use bitnet_engine::plan::{self, Plan};

const PROMPT: [u32; 24] = [
    1, 5, 17, 200, 33, 7, 450, 99, 12, 401, 3, 88, 256, 300, 42, 42, 42, 9, 310, 77, 128, 64, 500,
    2,
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures/golden")
        .join(name)
}

/// The weights of a file, some of them altered.
struct Altered {
    file: Arc<Gguf>,
    bytes: Vec<u8>,
}

impl Altered {
    /// Flips one trit in each of the `matrices` that a tensor consists of.
    fn flip_trit(&mut self, tensor: &str, matrices: usize) {
        let range = self.find(tensor).expect("a tensor");
        let length = range.len() / matrices;
        for matrix in self.bytes[range].chunks_exact_mut(length) {
            // The lowest two bits are a code of 0, 1 or 2: a trit becomes its neighbour.
            let code = matrix[777] & 3;
            matrix[777] ^= if code == 0 { 1 } else { 3 };
        }
    }
}

impl WeightSource for Altered {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn find(&self, name: &str) -> Option<Range<usize>> {
        WeightSource::find(&*self.file, name)
    }
}

/// Compares the model on the lane that reads it, with our side altered.
fn compared(
    lane: Lane,
    model: &str,
    program: impl FnOnce(&mut Program, &Plan),
    weights: impl FnOnce(&mut Altered),
) -> Comparison {
    let home = Home::named_by(std::env::var_os).expect("a cache for the lanes");
    let mut client = home
        .start(lane, Limits::default())
        .unwrap_or_else(|failure| panic!("{failure}, or leave the feature `crossval-cpp` off"));
    let vocabulary = Gguf::open(golden(model))
        .ok()
        .and_then(|file| file.tensor("token_embd.weight")?.shape.get(1).copied())
        .expect("an embedding");
    // Ids beyond a small vocabulary begin anew.
    let prompt = PROMPT.map(|id| id % vocabulary as u32);
    let prompt = Prompt::of_ids(&golden(model), prompt.to_vec()).expect("tokens");
    let scratch = tempfile::tempdir().expect("a folder");
    let question = Question {
        model: &golden(model),
        prompt: &prompt,
        greedy: 8,
        cache_type: None,
        threads: 1,
        thresholds: Thresholds::default(),
        transcode: Transcode::Auto,
        scratch: scratch.path(),
    };
    let ours = |path: &Path, cache_type| {
        let file = Arc::new(Gguf::open(path)?);
        let plan = plan::plan(&file, cache_type).expect("a golden model runs");
        let mut altered = Altered {
            bytes: file.bytes().to_vec(),
            file,
        };
        weights(&mut altered);
        let mut changed = plan.program.clone();
        program(&mut changed, &plan);
        let backend = CpuBackend::load(changed, Arc::new(altered), CpuOptions::default())?;
        Ok(Ours::new(Model::on(plan, Box::new(backend), 512)))
    };
    compare(&mut client, &question, ours).expect("both sides answer")
}

/// The parity of `comparison` is broken at `layer`, and the report says so.
#[track_caller]
fn parts_at(comparison: &Comparison, layer: usize, first_position: usize) {
    let reasons = &comparison.verdict.reasons;
    assert!(!comparison.verdict.passed());
    let finding = comparison.finding.as_ref().expect("a layer that parts");
    assert_eq!(
        (finding.part, finding.first),
        (Part::Layer(layer), first_position),
        "{finding}"
    );
    let named = format!("layer {layer} is the first to part");
    let reason = reasons.iter().find(|reason| reason.contains(&named));
    let reason = reason.unwrap_or_else(|| panic!("{named}: {reasons:?}"));
    assert!(
        reason.contains(&format!("first at position {first_position}")),
        "{reason}"
    );
}

const CASES: [(Lane, &str); 2] = [
    (Lane::BitnetCpp, "llama-i2_s.gguf"),
    (Lane::LlamaCpp, "bitnet-tq2_0.gguf"),
];

#[test]
fn the_kernels_as_they_are_part_nowhere() {
    for (lane, model) in CASES {
        let found = compared(lane, model, |_, _| {}, |_| {});
        assert!(
            found.verdict.passed(),
            "{model}: {:?}",
            found.verdict.reasons
        );
        assert_eq!(found.finding, None);
    }
}

/// The architecture that only transformers knows, whose activation is squared ReLU.
#[test]
fn silu_in_place_of_squared_relu_parts_at_the_first_layer() {
    let (lane, model) = (Lane::Transformers, "b158-i2_s.gguf");
    let found = compared(lane, model, |_, _| {}, |_| {});
    let reasons = &found.verdict.reasons;
    assert!(
        found.verdict.passed() && found.finding.is_none(),
        "{reasons:?}"
    );
    let swap = |program: &mut Program, _: &Plan| {
        for op in &mut program.ops {
            if let Op::GatedLinear { activation, .. } = op {
                assert_eq!(*activation, Activation::Relu2);
                *activation = Activation::Silu;
            }
        }
    };
    parts_at(&compared(lane, model, swap, |_| {}), 0, 0);
}

/// The C++ references have no squared ReLU, so it is put where SiLU belongs.
#[test]
fn another_activation_in_one_layer_names_that_layer_and_the_logits_part_as_well() {
    for (lane, model) in CASES {
        let swap = |program: &mut Program, plan: &Plan| {
            let layer = plan.layer_ends[0] + 1..=plan.layer_ends[1];
            for op in &mut program.ops[layer] {
                if let Op::GatedLinear { activation, .. } = op {
                    *activation = Activation::Relu2;
                }
            }
        };
        let found = compared(lane, model, swap, |_| {});
        parts_at(&found, 1, 0);
        assert_eq!(found.verdict.first_divergence, Some(0));
    }
}

#[test]
fn the_other_rope_order_is_seen_from_the_second_position_on() {
    for (lane, model) in CASES {
        let turn = |program: &mut Program, _: &Plan| {
            let pairing = &mut program.rotations[0].pairing;
            *pairing = match *pairing {
                Pairing::Adjacent => Pairing::Halves,
                Pairing::Halves => Pairing::Adjacent,
            };
        };
        let found = compared(lane, model, turn, |_| {});
        // At position 0 nothing is rotated.
        parts_at(&found, 0, 1);
        assert!(found.verdict.first_divergence.is_some_and(|at| at > 0));
    }
}

#[test]
fn a_scale_off_by_one_percent_is_caught_although_the_logits_stay_within_the_references_noise() {
    // Not gate and up of a model with sub-norms, nor V: a norm takes their scale out again.
    for (lane, model, weight, layer, first) in [
        (
            Lane::BitnetCpp,
            "llama-i2_s.gguf",
            "blk.1.attn_output.weight",
            1,
            0,
        ),
        (
            Lane::BitnetCpp,
            "llama-i2_s.gguf",
            "blk.2.ffn_up.weight",
            2,
            0,
        ),
        (
            Lane::LlamaCpp,
            "bitnet-tq2_0.gguf",
            "blk.0.ffn_down.weight",
            0,
            0,
        ),
        // With one position to attend to, scores do not matter.
        (
            Lane::LlamaCpp,
            "bitnet-tq2_0.gguf",
            "blk.1.attn_q.weight",
            1,
            1,
        ),
    ] {
        let widen = |program: &mut Program, _: &Plan| {
            let Program { ops, weights, .. } = program;
            for product in ops.iter_mut().flat_map(products) {
                if weights[product.weight.0 as usize].name == weight {
                    product.scale *= 1.01;
                }
            }
        };
        let found = compared(lane, model, widen, |_| {});
        parts_at(&found, layer, first);
    }
}

fn products(op: &mut Op) -> Vec<&mut Product> {
    match op {
        Op::Linear { products, .. } => products.iter_mut().map(|(product, _)| product).collect(),
        Op::GatedLinear { gate, up, .. } => vec![gate, up],
        Op::GatedExperts { gate, up, .. } => vec![gate, up],
        Op::Head { product, .. } | Op::ExpertLinear { product, .. } => vec![product],
        _ => Vec::new(),
    }
}

#[test]
fn one_flipped_trit_is_caught_and_its_layer_named() {
    for (lane, model) in CASES {
        for (layer, part) in [
            (0, "attn_q"),
            (1, "attn_v"),
            (1, "attn_output"),
            (2, "ffn_down"),
        ] {
            let weight = format!("blk.{layer}.{part}.weight");
            let flip = |altered: &mut Altered| altered.flip_trit(&weight, 1);
            let found = compared(lane, model, |_, _| {}, flip);
            let finding = found.finding.as_ref();
            let part = finding.map(|finding| finding.part);
            assert_eq!(
                part,
                Some(Part::Layer(layer)),
                "{model} {weight}: {:?}",
                found.layers
            );
            assert!(!found.verdict.passed());
        }
    }
}

#[test]
fn a_wrong_head_is_named_too() {
    for (lane, model) in CASES {
        let widen = |program: &mut Program, _: &Plan| {
            let head = program.ops.last_mut().map(products).into_iter().flatten();
            head.for_each(|product| product.scale *= 1.01);
        };
        let found = compared(lane, model, widen, |_| {});
        assert_eq!(
            found.finding.as_ref().map(|finding| finding.part),
            Some(Part::Head)
        );
    }
}

/// What can be wrong: a name, and how layer 1 of our side is altered.
type Alteration = (&'static str, fn(&mut Program, &Plan));

/// The operations of layer 1.
fn second_layer<'a>(program: &'a mut Program, plan: &Plan) -> &'a mut [Op] {
    &mut program.ops[plan.layer_ends[0] + 1..=plan.layer_ends[1]]
}

/// The first operation of layer 1 that `is` wanted does nothing.
fn left_out(program: &mut Program, plan: &Plan, is: fn(&Op) -> bool) {
    let op = second_layer(program, plan).iter_mut().find(|op| is(op));
    *op.expect("such an operation") = Op::Linear {
        products: Vec::new(),
        accumulate: false,
    };
}

fn without_a_head_norm(program: &mut Program, plan: &Plan) {
    left_out(program, plan, |op| matches!(op, Op::HeadNorm { .. }));
}

/// The norm before the mixer, its gain included, does nothing but store what it is given.
fn without_a_norm(program: &mut Program, plan: &Plan) {
    let mut ops = second_layer(program, plan).iter_mut();
    let op = ops.find(|op| matches!(op, Op::Norm { .. }));
    let op = op.expect("a norm");
    if let Op::Norm { x, out, .. } = *op {
        *op = Op::Encode { x, out };
    }
}

/// What a delta net forgets from token to token is what it should add.
fn with_alpha_for_beta(program: &mut Program, plan: &Plan) {
    for op in second_layer(program, plan) {
        if let Op::DeltaRule { alpha, beta, .. } = op {
            std::mem::swap(alpha, beta);
        }
    }
}

fn without_a_gate(program: &mut Program, plan: &Plan) {
    left_out(program, plan, |op| matches!(op, Op::Gate { .. }));
}

fn without_a_rotation(program: &mut Program, plan: &Plan) {
    for op in second_layer(program, plan) {
        match op {
            Op::RopeStore { rotation, .. } if rotation.is_some() => *rotation = None,
            Op::Rotate { .. } => {
                *op = Op::Linear {
                    products: Vec::new(),
                    accumulate: false,
                }
            }
            _ => {}
        }
    }
}

fn with_one_scale_off(program: &mut Program, plan: &Plan) {
    let products = second_layer(program, plan).iter_mut().flat_map(products);
    products.last().expect("a product").scale *= 1.01;
}

fn with_another_expert(program: &mut Program, plan: &Plan) {
    let layer = second_layer(program, plan);
    let shares = layer.iter().find_map(|op| match op {
        Op::Route { shares, .. } => Some(*shares),
        _ => None,
    });
    for op in layer {
        if let Op::ExpertLinear { chosen, .. } = op {
            // Shares are below 1: whoever was chosen, the first expert's matrix is taken.
            *chosen = shares.expect("a router");
        }
    }
}

fn without_a_clamp(program: &mut Program, plan: &Plan) {
    for op in second_layer(program, plan) {
        if let Op::GatedExperts { clamp, .. } = op {
            *clamp = None;
        }
    }
}

/// A model of each further architecture, and what can be wrong in it.
const FURTHER: [(&str, &[Alteration]); 9] = [
    (
        "qwen3-yarn-tq2_0.gguf",
        &[
            ("head norm", without_a_head_norm),
            ("norm", without_a_norm),
            ("rotation", without_a_rotation),
            ("scale", with_one_scale_off),
        ],
    ),
    (
        "llama-linear-tq2_0.gguf",
        &[
            ("norm", without_a_norm),
            ("rotation", without_a_rotation),
            ("scale", with_one_scale_off),
        ],
    ),
    (
        "hunyuan-tq2_0.gguf",
        &[
            ("head norm", without_a_head_norm),
            ("norm", without_a_norm),
            ("rotation", without_a_rotation),
            ("scale", with_one_scale_off),
        ],
    ),
    (
        "minicpm-long-tq2_0.gguf",
        &[
            ("norm", without_a_norm),
            ("rotation", without_a_rotation),
            ("scale", with_one_scale_off),
        ],
    ),
    (
        "maple-tq2_0.gguf",
        &[
            ("head norm", without_a_head_norm),
            ("norm", without_a_norm),
            ("expert", with_another_expert),
            ("clamp", without_a_clamp),
            ("scale", with_one_scale_off),
        ],
    ),
    (
        "qwen3-q2_0.gguf",
        &[
            ("head norm", without_a_head_norm),
            ("norm", without_a_norm),
            ("scale", with_one_scale_off),
        ],
    ),
    (
        "qwen3-q1_0.gguf",
        &[
            ("head norm", without_a_head_norm),
            ("norm", without_a_norm),
            ("scale", with_one_scale_off),
        ],
    ),
    // Layer 1 is a delta net; its head norm is that of what the rule gives.
    (
        "qwen35-q2_0.gguf",
        &[
            ("head norm", without_a_head_norm),
            ("norm", without_a_norm),
            ("steps", with_alpha_for_beta),
            ("gate", without_a_gate),
            ("scale", with_one_scale_off),
        ],
    ),
    // Layer 1 is gated attention.
    (
        "qwen35-q2_0-emb.gguf",
        &[
            ("head norm", without_a_head_norm),
            ("norm", without_a_norm),
            ("rotation", without_a_rotation),
            ("gate", without_a_gate),
            ("scale", with_one_scale_off),
        ],
    ),
];

#[test]
fn what_is_wrong_in_a_layer_of_any_architecture_is_caught_and_the_layer_named() {
    for (model, alterations) in FURTHER {
        let found = compared(Lane::LlamaCpp, model, |_, _| {}, |_| {});
        let reasons = &found.verdict.reasons;
        assert!(
            found.verdict.passed() && found.finding.is_none(),
            "{model}: {reasons:?}"
        );
        for (what, alter) in alterations {
            let found = compared(Lane::LlamaCpp, model, alter, |_| {});
            let part = found.finding.as_ref().map(|finding| finding.part);
            assert_eq!(part, Some(Part::Layer(1)), "{model}, {what}");
            assert!(!found.verdict.passed(), "{model}, {what}");
        }
        let flip = |altered: &mut Altered| match model.starts_with("maple") {
            false => altered.flip_trit("blk.1.ffn_down.weight", 1),
            // Every token chooses experts of its own.
            true => altered.flip_trit("blk.1.ffn_down_exps.weight", 6),
        };
        let found = compared(Lane::LlamaCpp, model, |_, _| {}, flip);
        let part = found.finding.as_ref().map(|finding| finding.part);
        assert_eq!(part, Some(Part::Layer(1)), "{model}, one trit");
    }
}
