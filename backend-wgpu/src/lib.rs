//! Runs the generated WGSL kernels through wgpu: Vulkan, Metal or Direct3D 12, whichever is there.
//!
//! Everything is made when a program is loaded: pipelines, buffers, bind groups. A pass writes its
//! token ids and a few numbers, records its dispatches, submits once and reads back what was asked
//! for. This crate knows no model and holds no shader text.

mod adapter;
mod backend;
mod buffers;
mod cache;
mod device;
mod matrix;
mod pipeline;
mod steps;
mod top;
mod work;

pub use adapter::{AdapterReport, adapters};
pub use backend::{OpTime, WgpuBackend, WgpuOptions};
