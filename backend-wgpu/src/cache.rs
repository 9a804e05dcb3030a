//! Keys and values of one sequence, a buffer each per layer.

use bitnet_kernels::program::CacheType;
use bitnet_kernels::{BackendError, Program};
use half::f16;
use wgpu::Buffer;

use crate::activations::floats;
use crate::device::Gpu;

pub(crate) struct Layer {
    pub(crate) keys: Buffer,
    pub(crate) values: Buffer,
}

pub(crate) struct Cache {
    pub(crate) positions: usize,
    pub(crate) layers: Vec<Layer>,
    width: usize,
    kind: CacheType,
}

impl Cache {
    pub(crate) fn new(
        gpu: &Gpu,
        program: &Program,
        positions: usize,
    ) -> Result<Cache, BackendError> {
        let width = program.attention.kv_heads * program.attention.head_dim;
        let element = match program.cache_type {
            CacheType::F16 => 2,
            CacheType::F32 => 4,
        };
        let what = format!("a cache of {positions} positions");
        let layer = |_| {
            Ok(Layer {
                keys: gpu.storage(&what, positions * width * element)?,
                values: gpu.storage(&what, positions * width * element)?,
            })
        };
        Ok(Cache {
            positions,
            layers: (0..program.layers).map(layer).collect::<Result<_, _>>()?,
            width,
            kind: program.cache_type,
        })
    }

    pub(crate) fn read(
        &self,
        gpu: &Gpu,
        layer: usize,
        positions: usize,
    ) -> Result<(Vec<f32>, Vec<f32>), BackendError> {
        let read = |buffer: &Buffer| match self.kind {
            CacheType::F32 => Ok(floats(&gpu.download(buffer, positions * self.width * 4)?)),
            CacheType::F16 => Ok(gpu
                .download(buffer, positions * self.width * 2)?
                .as_chunks()
                .0
                .iter()
                .map(|half| f16::from_le_bytes(*half).to_f32())
                .collect()),
        };
        let layer = &self.layers[layer];
        Ok((read(&layer.keys)?, read(&layer.values)?))
    }

    pub(crate) fn write(
        &self,
        gpu: &Gpu,
        layer: usize,
        keys: &[f32],
        values: &[f32],
    ) -> Result<(), BackendError> {
        let write = |buffer: &Buffer, from: &[f32]| {
            let bytes: Vec<u8> = match self.kind {
                CacheType::F32 => from.iter().flat_map(|x| x.to_le_bytes()).collect(),
                CacheType::F16 => from
                    .iter()
                    .flat_map(|x| f16::from_f32(*x).to_le_bytes())
                    .collect(),
            };
            gpu.upload(buffer, 0, &bytes)
        };
        let layer = &self.layers[layer];
        write(&layer.keys, keys)?;
        write(&layer.values, values)
    }
}
