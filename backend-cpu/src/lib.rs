//! Runs programs on the CPU.
//!
//! Kernels exist per instruction set and are chosen at run time ([`Isa`]); the executor walks a
//! program on a persistent pool of threads. Results are the same bits for every instruction set,
//! number of threads and way of cutting a prompt into batches: float reductions follow
//! `bitnet_kernels::order`, and who computes a piece never matters. No model is named here.

mod backend;
mod exec;
mod generic;
mod head;
mod isa;
mod limits;
mod memory;
mod microkernel;
mod threads;

#[cfg(test)]
mod conformance;

pub use backend::{CpuBackend, CpuOptions};
pub use isa::{Isa, IsaError};
pub use threads::affinity::{Affinity, Numa};
