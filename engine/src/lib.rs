//! GGUF in, tokens out.
//!
//! A file's metadata becomes a [`Config`], its tensors a program of fused operations ([`plan`]), a
//! [`Device`] runs it, and a [`Model`] feeds tokens through it, one [`Session`] per sequence.
//! [`generate`] turns a prompt into text. No instruction set and no shader is named here.

mod compare;
pub mod config;
pub mod device;
mod error;
mod generate;
pub mod measure;
mod model;
pub mod plan;
pub mod sample;
mod stop;

pub use bitnet_backend_cpu as cpu;
#[cfg(feature = "gpu")]
pub use bitnet_backend_wgpu as gpu;
pub use bitnet_gguf as gguf;
pub use bitnet_kernels as kernels;
pub use bitnet_tokenizers as tokenizers;

pub use bitnet_kernels::program::CacheType;
pub use bitnet_kernels::{Candidate, KernelRecorder, Output, Want};
pub use compare::{Comparison, compare};
pub use config::{Architecture, Config};
pub use device::Device;
pub use error::{Error, Problem};
pub use generate::{GenerateOptions, Generation, StopReason, generate};
pub use model::{LoadOptions, Model, Session};
pub use sample::{Sampler, Sampling};
