//! The instruction set that whoever measures or compares can force.

use anyhow::Context as _;
use bitnet_engine::Isa;

/// The one that `BITNET_ISA` names, if it is set.
///
/// # Errors
/// There is no such instruction set, or this CPU lacks it.
pub(crate) fn from_environment() -> anyhow::Result<Option<Isa>> {
    let name = std::env::var("BITNET_ISA").ok();
    let isa = name.filter(|name| !name.is_empty());
    isa.map(|name| Isa::named(&name))
        .transpose()
        .context("the instruction set in BITNET_ISA cannot be used")
}
