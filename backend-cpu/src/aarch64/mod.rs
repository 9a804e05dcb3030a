//! AArch64. The lanes and the block products are written once, over [`dot::Dot`]: the one step that
//! the instruction sets do differently.

mod blocks;
mod dot;
pub(crate) mod dotprod;
pub(crate) mod i8mm;
mod lanes;
pub(crate) mod neon;
mod peak;
mod quads;
mod screen;
