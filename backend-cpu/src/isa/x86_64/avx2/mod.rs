//! AVX2 with FMA and F16C, and with AVX-VNNI on top of it: two registers of eight SIMD lanes.

mod columns;
mod dot;
mod gemm;
mod screen;
mod simd;
mod tables;
pub(crate) mod token;
