//! x86-64 instruction sets, one file each.

pub(crate) mod avx2;
mod avx2_quads;
pub(crate) mod avx512;
mod avx512_quads;
