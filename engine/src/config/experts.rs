//! What a file says about its experts.

use bitnet_gguf::Value;
use bitnet_kernels::program::Experts;

use crate::error::Problem;
use crate::metadata::Keys;

/// The feed-forward networks of a mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// How many there are in a layer, and how many a token is routed to.
    pub experts: Experts,
    /// Width of an expert, by layer.
    pub feed_forward: Vec<usize>,
    /// The bound of gates and factors, by layer.
    pub clamps: Vec<Option<f32>>,
}

/// Clamps from here on count; llama.cpp takes a smaller one for none.
const LEAST_CLAMP: f32 = 1e-6;

/// The experts of an architecture that has them.
pub(super) fn read(keys: &mut Keys<'_>, layers: usize) -> Mixture {
    let experts = Experts {
        count: keys.size("expert_count"),
        used: keys.size("expert_used_count"),
    };
    if experts.used > experts.count {
        let Experts { count, used } = experts;
        let text = format!("a token cannot be routed to {used} of {count} experts");
        keys.refuse(Problem::Shape(text));
    }
    let width = |value: &Value| {
        let value = usize::try_from(value.as_integer()?).ok()?;
        (1..=1 << 24).contains(&value).then_some(value)
    };
    let clamp = |value: &Value| {
        let value = value.as_float()? as f32;
        (value >= 0.0 && value.is_finite()).then_some(value)
    };
    let clamps = keys.by_layer("swiglu_clamp_exp", layers, "a number from 0 on", clamp);
    let counts = |clamp: f32| (clamp > LEAST_CLAMP).then_some(clamp);
    Mixture {
        experts,
        feed_forward: keys.by_layer("expert_feed_forward_length", layers, "a size", width),
        clamps: clamps.into_iter().map(counts).collect(),
    }
}
