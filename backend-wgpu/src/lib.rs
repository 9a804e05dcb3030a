//! Runs the generated WGSL kernels through wgpu.
