//! Runs the generated WGSL kernels through wgpu: Vulkan, Metal or Direct3D 12, whichever is there.
//!
//! Everything is made when a program is loaded: pipelines, buffers, bind groups. A pass writes its
//! token ids and a few numbers, records its dispatches, submits once and reads back what was asked
//! for. Each operation has a file below `steps`, which holds all of it: its weights, its bindings
//! and its dispatches; `fusion` finds those that run as one where there are few tokens. This crate
//! knows no model and holds no shader text.

mod activations;
mod adapter;
mod backend;
mod batch_buffers;
mod cache;
mod device;
mod forward;
mod fusion;
mod inspect;
mod loader;
mod matrix;
mod packing;
mod pass;
mod pipeline;
mod profiler;
mod recording;
mod rotations;
mod step;
mod steps;
mod telemetry;

pub use adapter::{AdapterReport, adapters};
pub use backend::{WgpuBackend, WgpuOptions};
