//! The variables that this program reads.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bitnet_engine::Isa;
use bitnet_provisioning::{CACHE_DIR_VARIABLE, ModelCache, ModelDiscovery};

/// Forces the instruction set of the CPU's kernels.
const ISA: &str = "BITNET_ISA";
/// Names the first operation that a GPU leaves to the CPU.
const GPU_UNTIL: &str = "BITNET_GPU_UNTIL";

/// Looks for models in `models/` of the current folder, then in this user's cache.
pub(crate) fn model_discovery() -> ModelDiscovery {
    let folder = std::env::var_os(CACHE_DIR_VARIABLE).map(PathBuf::from);
    ModelDiscovery::new("models", ModelCache::of_user(folder, std::env::home_dir()))
}

/// Makes every warning an error, where it is `1`.
const STRICT: &str = "BITNET_STRICT_MODE";

/// Every variable that this program reads, and its effect.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        ISA,
        "Forces the instruction set of the CPU kernels. An unknown or missing one is an error that lists those there are. \
         `cargo xtask` reads it too, where it measures or compares",
    ),
    (
        STRICT,
        "With `1`, every warning about a tokenizer or a template is an error",
    ),
    (
        GPU_UNTIL,
        "With a GPU: the first operation that is left to the CPU, as `NAME#NUMBER`, `INDEX` or `end`. For finding out which \
         operation is wrong",
    ),
    (
        CACHE_DIR_VARIABLE,
        "The model cache, instead of `~/.cache/bitnet/models`",
    ),
    (
        "RUST_LOG",
        "`debug` tells on standard error where models and tokenizers were looked for",
    ),
];

/// Whether warnings are errors.
pub(crate) fn strict() -> bool {
    variable(STRICT).is_some_and(|value| value == "1")
}

/// The instruction set that was asked for.
pub(crate) fn isa() -> Result<Option<Isa>> {
    let named = variable(ISA).map(|name| Isa::named(&name)).transpose();
    named.with_context(|| format!("the instruction set in {ISA} cannot be used"))
}

/// The operation at which a GPU is to hand over to the CPU.
pub(crate) fn gpu_until() -> Option<String> {
    variable(GPU_UNTIL)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
