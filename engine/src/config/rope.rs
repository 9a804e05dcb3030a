//! The rotation of queries and keys.

use bitnet_gguf::Shown;
use bitnet_kernels::program::{Rope, RopeScaling};

use super::ranges::{BASES, FACTORS};
use super::sections;
use crate::architecture::Architecture;
use crate::metadata::Keys;

/// The key of the type of scaling, and the type in which a file has two sets of factors.
const TYPE: &str = "rope.scaling.type";
const LONG_ROPE: &str = "longrope";

/// The rotation that the metadata describes, without factors that are a tensor's. Without a
/// type, a factor is meant linearly, as llama.cpp reads it.
pub(super) fn read(keys: &mut Keys<'_>, architecture: &Architecture, head_dim: usize) -> Rope {
    let base = keys.number_within("rope.freq_base", Some(10000.0), BASES);
    let dims = keys.size_or("rope.dimension_count", head_dim);
    let mut rope = Rope::plain(dims, base, architecture.pairing);
    if architecture.alpha && keys.has("rope.scaling.alpha") {
        // NTK-aware scaling; 0 stands for none.
        let alpha = keys.number_within("rope.scaling.alpha", None, 0.0..=*FACTORS.end());
        if alpha > 0.0 {
            let dim = head_dim as f32;
            rope.base = base * libm::powf(alpha, dim / (dim - 2.0));
        }
    }
    if architecture.sections {
        rope.factors = sections::factors(dims, keys);
    }
    rope.magnitude = keys.number_within("rope.scaling.attn_factor", Some(1.0), FACTORS);
    // llama.cpp looks at the type for layers without a window alone; where there are windows, those
    // are the layers that are rotated.
    let always = architecture.layers.iter().any(|layer| layer.windowed);
    match keys.text(TYPE).unwrap_or("linear") {
        "none" if !always => {}
        "none" | "linear" | LONG_ROPE => {
            let factor = scaling_factor(keys);
            rope.scaling = RopeScaling::Linear { factor };
        }
        "yarn" => {
            let factor = scaling_factor(keys);
            let context = original_context(keys);
            rope.scaling = RopeScaling::Yarn { factor, context };
            if factor > 1.0 {
                rope.magnitude *= 1.0 + 0.1 * libm::logf(factor);
            }
            if base <= 1.0 {
                keys.refuse_value("rope.freq_base", "must be above 1 for YaRN");
            }
        }
        other => {
            let known = "supported are none, linear, yarn and longrope";
            keys.refuse_value(TYPE, &format!("is \"{}\"; {known}", Shown(other)));
        }
    }
    rope
}

/// The largest capacity that is rotated by the short factors of a `longrope` file.
pub(super) fn short_until(keys: &mut Keys<'_>) -> Option<usize> {
    (keys.text(TYPE) == Some(LONG_ROPE)).then(|| original_context(keys))
}

/// The divisor of frequencies, under its key or the older one; 1 where there is none, or 0.
fn scaling_factor(keys: &mut Keys<'_>) -> f32 {
    let names = ["rope.scaling.factor", "rope.scale_linear"];
    let Some(name) = names.into_iter().find(|name| keys.has(name)) else {
        return 1.0;
    };
    match keys.number_within(name, None, 0.0..=*FACTORS.end()) {
        0.0 => 1.0,
        factor if FACTORS.contains(&factor) => factor,
        factor => {
            let what = format!("is {factor}, which no rotation is scaled by");
            keys.refuse_value(name, &what);
            1.0
        }
    }
}

/// Positions that the model was first trained for.
fn original_context(keys: &mut Keys<'_>) -> usize {
    let name = "rope.scaling.original_context_length";
    match keys.has(name) {
        true => keys.size(name),
        false => keys.size("context_length"),
    }
}
