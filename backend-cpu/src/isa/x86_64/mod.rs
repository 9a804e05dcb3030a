//! x86-64 instruction sets, a folder each, and what they share.

pub(crate) mod avx2;
pub(crate) mod avx512;
mod listed;
mod peak;
mod prefetch;
mod quantized;
mod reorder;
