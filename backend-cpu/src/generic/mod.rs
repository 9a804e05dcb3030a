//! Kernels written once over the traits of [`crate::microkernel`].
//!
//! Every function here is inlined into a wrapper that an instruction set's module makes with its
//! features enabled. None holds `unsafe`, none names an instruction set.

pub(crate) mod attention;
pub(crate) mod batch;
pub(crate) mod blocks;
pub(crate) mod coded;
pub(crate) mod codes;
pub(crate) mod columns;
pub(crate) mod delta;
pub(crate) mod encode;
pub(crate) mod float;
pub(crate) mod gemm;
pub(crate) mod gemv;
pub(crate) mod math;
pub(crate) mod probe;
pub(crate) mod rope;
pub(crate) mod screen;
pub(crate) mod streams;
pub(crate) mod ternary;
