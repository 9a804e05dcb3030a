//! The variables that change what is computed with. Documented in `docs/reference/cli.md`.

use anyhow::{Context, Result};
use bitnet_engine::Isa;

/// Forces the instruction set of the CPU's kernels.
const ISA: &str = "BITNET_ISA";
/// Names the first operation that a GPU leaves to the CPU.
const GPU_UNTIL: &str = "BITNET_GPU_UNTIL";

/// Makes every warning an error, where it is `1`.
const STRICT: &str = "BITNET_STRICT_MODE";

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
