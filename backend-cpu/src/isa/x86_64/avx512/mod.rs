//! AVX-512 (F, BW, DQ, VL) with VNNI, and with VBMI on top of it: one register of sixteen SIMD
//! lanes, four byte products to a lane.

mod dot;
mod gemm;
mod screen;
mod simd;
pub(crate) mod token;
mod vbmi;
