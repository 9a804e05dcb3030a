//! [`Recording`]: dispatches on their way into a compute pass.

use wgpu::{CommandEncoder, ComputePass, ComputePassTimestampWrites};

use crate::pipeline::Bound;

/// A compute pass under way, and the kernels that are in it.
pub(crate) struct Recording<'a> {
    compute: ComputePass<'a>,
    kernels: &'a mut Vec<&'static str>,
}

impl<'a> Recording<'a> {
    /// Begins a compute pass; the kernels recorded into it are added to `kernels`.
    pub(crate) fn begin(
        encoder: &'a mut CommandEncoder,
        kernels: &'a mut Vec<&'static str>,
        timestamp_writes: Option<ComputePassTimestampWrites<'_>>,
    ) -> Recording<'a> {
        Recording {
            compute: encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: None,
                timestamp_writes,
            }),
            kernels,
        }
    }

    /// Records one dispatch of `workgroups`, which sees the numbers at offset `extent`.
    pub(crate) fn dispatch(&mut self, bound: &Bound, extent: u32, workgroups: (u32, u32, u32)) {
        let pipeline = &bound.pipeline;
        self.kernels.push(pipeline.kernel.name());
        self.compute.set_pipeline(&pipeline.pipeline);
        let offsets: &[u32] = if pipeline.takes_extent {
            &[extent]
        } else {
            &[]
        };
        self.compute.set_bind_group(0, &bound.group, offsets);
        let (x, y, z) = workgroups;
        self.compute.dispatch_workgroups(x, y, z);
    }
}
