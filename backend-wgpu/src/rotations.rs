//! Cosines and sines of a program's rotations, a table for each, shared by all caches.

use bitnet_kernels::program::{Rope, RotationId};
use bitnet_kernels::{BackendError, Program, oracle};
use wgpu::Buffer;

use crate::device::Gpu;

pub(crate) struct Rotations {
    /// By [`RotationId`].
    tables: Vec<Table>,
    /// What a kernel that rotates nothing is bound to.
    none: Buffer,
    positions: usize,
}

/// Positions of the first tables.
const FIRST_POSITIONS: usize = 1024;

/// A rotation's `[positions, pairs, 2]`.
struct Table {
    cos_sin: Buffer,
    /// Those of sequences whose capacity is above this.
    long: Option<(usize, Buffer)>,
}

impl Rotations {
    /// Tables without a position.
    pub(crate) fn new(gpu: &Gpu, program: &Program) -> Result<Rotations, BackendError> {
        Ok(Rotations {
            tables: tables(gpu, program, 0)?,
            none: gpu.storage("no rotation", 0)?,
            positions: 0,
        })
    }

    /// The table of a rotation, for a sequence of this capacity.
    pub(crate) fn table(&self, rotation: Option<RotationId>, capacity: usize) -> &Buffer {
        let Some(id) = rotation else {
            return &self.none;
        };
        let table = &self.tables[id.0 as usize];
        match &table.long {
            Some((beyond, long)) if capacity > *beyond => long,
            _ => &table.cos_sin,
        }
    }

    /// Refuses a capacity whose tables the device would not allow, before a sequence is that long.
    pub(crate) fn allow(
        gpu: &Gpu,
        program: &Program,
        positions: usize,
    ) -> Result<(), BackendError> {
        let what = format!("a table of {positions} rotations");
        let mut rotations = program.rotations.iter();
        rotations.try_for_each(|rope| gpu.allows_storage(&what, bytes(rope.dims / 2, positions)))
    }

    /// Makes tables for at least so many positions, and more than a pass needs, so that few passes
    /// make any, but for no more than `most`, the largest capacity; says whether they are new.
    ///
    /// Tables grow with what sequences hold and not with what they may: contexts of millions of
    /// positions are seldom filled.
    pub(crate) fn reserve(
        &mut self,
        gpu: &Gpu,
        program: &Program,
        positions: usize,
        most: usize,
    ) -> Result<bool, BackendError> {
        if positions <= self.positions {
            return Ok(false);
        }
        let positions = positions.max(FIRST_POSITIONS).next_power_of_two().min(most);
        self.tables = tables(gpu, program, positions)?;
        self.positions = positions;
        Ok(true)
    }
}

/// Bytes of a table: a cosine and a sine for each pair and position.
fn bytes(pairs: usize, positions: usize) -> usize {
    positions.saturating_mul(pairs * 2 * 4)
}

fn tables(gpu: &Gpu, program: &Program, positions: usize) -> Result<Vec<Table>, BackendError> {
    let make = |rope: &Rope| {
        let long = rope.long.as_ref().map(|long| long.beyond);
        Ok(Table {
            cos_sin: cos_sin(gpu, rope, 0, positions)?,
            long: long
                .map(|beyond| Ok((beyond, cos_sin(gpu, rope, beyond + 1, positions)?)))
                .transpose()?,
        })
    };
    program.rotations.iter().map(make).collect()
}

/// Cosines and sines of `positions` of sequences of this capacity.
fn cos_sin(
    gpu: &Gpu,
    rope: &Rope,
    capacity: usize,
    positions: usize,
) -> Result<Buffer, BackendError> {
    let frequencies = oracle::rope_frequencies(rope, capacity);
    // The device says first whether it has room for the table.
    let bytes = bytes(frequencies.len(), positions);
    let table = gpu.storage("rotations", bytes)?;
    let mut values = Vec::new();
    values
        .try_reserve_exact(bytes / 4)
        .map_err(|_| BackendError::OutOfMemory {
            device: gpu.name.clone(),
            what: format!("a table of {positions} rotations"),
            need: bytes as u64,
            have: None,
        })?;
    for position in 0..positions {
        for frequency in &frequencies {
            let (cos, sin) = oracle::rope_cos_sin(*frequency, rope.magnitude, position);
            values.extend([cos, sin]);
        }
    }
    gpu.upload(&table, 0, bytemuck::cast_slice(&values))?;
    Ok(table)
}
