//! Every operation in plain scalar code: the definition that all other implementations must meet.
//!
//! Written to be read. Nothing here is fast, nothing shares packing or blocking code with a kernel
//! that it judges, and nothing depends on the machine: fused multiply-adds are explicit, reductions
//! follow [`crate::order`], and transcendental functions come from one implementation.

mod attention;
mod encode;
mod math;
mod product;
mod rope;

pub use attention::attention;
pub use encode::{I8Row, Q8_0Row, Q8KRow, encode_i8, encode_q8_0, encode_q8k};
pub use math::{activate, argmax, dot, exp, gated, norm, round_f16, sum_of_squares, top};
pub use product::{float_product, i8_product, q6k_product, q8_0_product, ternary_q8k_product};
pub use rope::{rope_frequencies, rope_rotate};
