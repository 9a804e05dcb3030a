//! What an instruction set implements: a trait for each family of kernels, and the operands that
//! they meet. The kernels themselves are in `generic`, written once over these traits.

pub(crate) mod coded;
pub(crate) mod columns;
pub(crate) mod dot;
pub(crate) mod gemm;
pub(crate) mod operands;
pub(crate) mod peak;
pub(crate) mod runs;
pub(crate) mod screen;
pub(crate) mod simd;
pub(crate) mod trits;
