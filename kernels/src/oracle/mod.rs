//! Every operation in plain scalar code: the definition that all other implementations must meet.
//!
//! Written to be read. Nothing here is fast, nothing shares packing or blocking code with a kernel
//! that it judges, and nothing depends on the machine: fused multiply-adds are explicit, reductions
//! follow [`crate::order`], and transcendental functions come from one implementation.

mod attention;
mod delta;
mod experts;
mod math;
mod product;
mod rope;

pub use attention::*;
pub use delta::*;
pub use experts::*;
pub use math::*;
pub use product::*;
pub use rope::*;
