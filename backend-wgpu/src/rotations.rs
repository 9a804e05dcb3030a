//! [`Rotations`]: the sines and cosines that turn queries and keys, for all positions of the
//! longest cache.

use bitnet_kernels::program::Rope;
use bitnet_kernels::{BackendError, oracle};
use wgpu::Buffer;

use crate::device::Gpu;

pub(crate) struct Rotations {
    /// Cosine and sine by position and frequency.
    pub(crate) buffer: Buffer,
    positions: usize,
}

impl Rotations {
    /// For no position yet.
    pub(crate) fn new(gpu: &Gpu) -> Result<Rotations, BackendError> {
        Ok(Rotations {
            buffer: gpu.storage("rotations", 0)?,
            positions: 0,
        })
    }

    /// Makes them for up to so many positions. Whether the buffer is another one now.
    pub(crate) fn reserve(
        &mut self,
        gpu: &Gpu,
        rope: &Rope,
        positions: usize,
    ) -> Result<bool, BackendError> {
        if positions <= self.positions {
            return Ok(false);
        }
        let frequencies = oracle::rope_frequencies(rope);
        let mut values = Vec::with_capacity(positions * frequencies.len() * 2);
        for position in 0..positions {
            for frequency in &frequencies {
                let angle = f64::from(position as f32 * frequency);
                values.extend([libm::cos(angle) as f32, libm::sin(angle) as f32]);
            }
        }
        let buffer = gpu.storage("rotations", values.len() * 4)?;
        gpu.upload(&buffer, 0, bytemuck::cast_slice(&values))?;
        self.buffer = buffer;
        self.positions = positions;
        Ok(true)
    }
}
