//! AArch64 instruction sets, a file each. The SIMD lanes and the dot products of blocks are written
//! once, over [`byte_dot::ByteDot`]: the one step that the instruction sets do differently.

mod byte_dot;
mod columns;
mod dot;
pub(crate) mod dotprod;
mod gemm;
pub(crate) mod i8mm;
pub(crate) mod neon;
mod peak;
mod screen;
mod simd;
