//! Runs programs on the CPU.
//!
//! Kernels exist per instruction set and are chosen at run time ([`Isa`]); the executor walks a
//! program on a persistent pool of threads. Results are the same bits for every instruction set,
//! number of threads and way of cutting a prompt into batches: float reductions follow
//! `bitnet_kernels::order`, and who computes a piece never matters. No model is named here.

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod blocks;
mod buffers;
mod cache;
mod cells;
mod clock;
mod exec;
mod generic;
mod head;
mod isa;
mod lanes;
mod limits;
mod matrix;
mod pages;
mod peak;
mod pool;
mod quads;
mod scalar;
mod screens;
mod table;
mod tickets;
mod weights;

#[cfg(test)]
mod judged;
#[cfg(target_arch = "x86_64")]
mod x86_64;

mod backend;

pub use backend::{CpuBackend, CpuOptions};
pub use isa::{Isa, IsaError};
