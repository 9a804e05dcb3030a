//! AVX-512 (F, BW, DQ, VL) with VNNI, with VBMI on top of it, and with AMX's tiles on top of both:
//! one register of sixteen SIMD lanes, four byte products to a lane.

mod amx;
mod columns;
mod dot;
mod few;
mod gemm;
mod screen;
mod simd;
pub(super) mod tiles;
pub(crate) mod token;
mod vbmi;
