//! Cosines and sines of a program's rotations, a table for each, shared by all caches.

use bitnet_kernels::program::{Rope, RotationId};
use bitnet_kernels::{BackendError, Program, oracle};
use wgpu::Buffer;

use crate::device::Gpu;

pub(crate) struct Rotations {
    /// By [`RotationId`], `[positions, pairs, 2]`.
    tables: Vec<Buffer>,
    /// What a kernel that rotates nothing is bound to.
    none: Buffer,
    positions: usize,
}

impl Rotations {
    /// Tables without a position.
    pub(crate) fn new(gpu: &Gpu, program: &Program) -> Result<Rotations, BackendError> {
        let empty = |_| gpu.storage("rotations", 0);
        Ok(Rotations {
            tables: program
                .rotations
                .iter()
                .map(empty)
                .collect::<Result<_, _>>()?,
            none: gpu.storage("no rotation", 0)?,
            positions: 0,
        })
    }

    /// The table of a rotation.
    pub(crate) fn table(&self, rotation: Option<RotationId>) -> &Buffer {
        rotation.map_or(&self.none, |id| &self.tables[id.0 as usize])
    }

    /// Makes tables for at least so many positions; says whether they are new.
    pub(crate) fn reserve(
        &mut self,
        gpu: &Gpu,
        program: &Program,
        positions: usize,
    ) -> Result<bool, BackendError> {
        if positions <= self.positions {
            return Ok(false);
        }
        let make = |rope: &Rope| {
            let frequencies = oracle::rope_frequencies(rope);
            // The device says first whether it has room for the table.
            let len = positions.saturating_mul(frequencies.len() * 2);
            let table = gpu.storage("rotations", len.saturating_mul(4))?;
            let mut cos_sin = Vec::new();
            cos_sin
                .try_reserve_exact(len)
                .map_err(|_| BackendError::OutOfMemory {
                    device: gpu.name.clone(),
                    what: format!("a table of {positions} rotations"),
                    need: len as u64 * 4,
                    have: None,
                })?;
            for position in 0..positions {
                for frequency in &frequencies {
                    let angle = f64::from(position as f32 * frequency);
                    cos_sin.extend([libm::cos(angle) as f32, libm::sin(angle) as f32]);
                }
            }
            gpu.upload(&table, 0, bytemuck::cast_slice(&cos_sin))?;
            Ok(table)
        };
        self.tables = program
            .rotations
            .iter()
            .map(make)
            .collect::<Result<_, BackendError>>()?;
        self.positions = positions;
        Ok(true)
    }
}
