//! What a sequence keeps from token to token, layer by layer.

use bitnet_kernels::batch::cache_positions;
use bitnet_kernels::program::{CacheType, LayerCache};
use bitnet_kernels::{BackendError, CacheId, Checkpoint, LayerContents, Program};
use half::f16;
use wgpu::Buffer;

use crate::activations::floats;
use crate::device::Gpu;

pub(crate) struct Cache {
    /// Tokens that the states stand for; none while a pass is on its way, or after one that failed.
    pub(crate) stands: Option<usize>,
    pub(crate) positions: usize,
    layers: Vec<Layer>,
}

/// What one layer keeps.
enum Layer {
    KeysAndValues(KeysAndValues),
    State { values: Buffer, len: usize },
}

/// Keys and values of one layer: `[positions, width]` each.
pub(crate) struct KeysAndValues {
    pub(crate) keys: Buffer,
    pub(crate) values: Buffer,
    width: usize,
    kind: CacheType,
}

impl Cache {
    pub(crate) fn new(
        gpu: &Gpu,
        program: &Program,
        positions: usize,
    ) -> Result<Cache, BackendError> {
        let what = format!("a cache of {positions} positions");
        let layer = |layer: &LayerCache| match *layer {
            LayerCache::KeysAndValues { kv_heads, head_dim } => {
                let (width, kind) = (kv_heads * head_dim, program.cache_type);
                let bytes = positions.saturating_mul(width * kind.bytes());
                Ok(Layer::KeysAndValues(KeysAndValues {
                    keys: gpu.storage(&what, bytes)?,
                    values: gpu.storage(&what, bytes)?,
                    width,
                    kind,
                }))
            }
            // The device hands out zeros.
            LayerCache::State { len } => Ok(Layer::State {
                values: gpu.storage("a state", len * 4)?,
                len,
            }),
        };
        Ok(Cache {
            stands: Some(0),
            positions,
            layers: program.caches.iter().map(layer).collect::<Result<_, _>>()?,
        })
    }

    /// The keys and values of a layer that keeps them.
    pub(crate) fn keys_and_values(&self, layer: usize) -> &KeysAndValues {
        match &self.layers[layer] {
            Layer::KeysAndValues(layer) => layer,
            Layer::State { .. } => unreachable!("the program was validated"),
        }
    }

    /// The state of a layer that keeps one.
    pub(crate) fn state(&self, layer: usize) -> &Buffer {
        match &self.layers[layer] {
            Layer::State { values, .. } => values,
            Layer::KeysAndValues(_) => unreachable!("the program was validated"),
        }
    }

    /// The states with their lengths.
    fn states(&self) -> impl Iterator<Item = (&Buffer, usize)> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::State { values, len } => Some((values, *len)),
            Layer::KeysAndValues(_) => None,
        })
    }

    /// Copies the states of cache `id`, which this is.
    pub(crate) fn checkpoint(&self, gpu: &Gpu, id: CacheId) -> Result<Checkpoint, BackendError> {
        let Some(tokens) = self.stands else {
            return Err(BackendError::NoWayBack {
                cache: id.0,
                stands: None,
                start: 0,
            });
        };
        let copy = |(state, len): (&Buffer, usize)| Ok(floats(&gpu.download(state, len * 4)?));
        Ok(Checkpoint {
            tokens,
            states: self.states().map(copy).collect::<Result<_, _>>()?,
        })
    }

    /// Takes the states back to a checkpoint, or to the beginning.
    pub(crate) fn rewind(
        &mut self,
        gpu: &Gpu,
        to: Option<&Checkpoint>,
    ) -> Result<(), BackendError> {
        if let Some(to) = to {
            to.fits(self.states().map(|(_, len)| len))?;
        }
        self.stands = None;
        for (i, (state, len)) in self.states().enumerate() {
            match to {
                Some(to) => gpu.upload(state, 0, bytemuck::cast_slice(&to.states[i]))?,
                None => gpu.upload(state, 0, &vec![0; len * 4])?,
            }
        }
        self.stands = Some(to.map_or(0, |to| to.tokens));
        Ok(())
    }

    /// What a layer holds; of keys and values, those of `0 .. positions`.
    pub(crate) fn read(
        &self,
        gpu: &Gpu,
        layer: usize,
        positions: usize,
    ) -> Result<LayerContents, BackendError> {
        cache_positions(0, positions, self.positions)?;
        match self.layers.get(layer) {
            Some(Layer::KeysAndValues(layer)) => Ok(LayerContents::KeysAndValues {
                keys: layer.read(gpu, &layer.keys, positions)?,
                values: layer.read(gpu, &layer.values, positions)?,
            }),
            Some(Layer::State { values, len }) => Ok(LayerContents::State(floats(
                &gpu.download(values, len * 4)?,
            ))),
            None => Err(BackendError::Batch(format!("there is no layer {layer}"))),
        }
    }

    /// Overwrites what a layer holds.
    pub(crate) fn write(
        &self,
        gpu: &Gpu,
        layer: usize,
        contents: &LayerContents,
    ) -> Result<(), BackendError> {
        match (self.layers.get(layer), contents) {
            (Some(Layer::KeysAndValues(kept)), LayerContents::KeysAndValues { keys, values })
                if keys.len() == values.len() && keys.len() <= self.positions * kept.width =>
            {
                kept.write(gpu, &kept.keys, keys)?;
                kept.write(gpu, &kept.values, values)
            }
            (Some(Layer::State { values: kept, len }), LayerContents::State(values))
                if values.len() == *len =>
            {
                gpu.upload(kept, 0, bytemuck::cast_slice(values))
            }
            _ => Err(BackendError::Batch(format!(
                "layer {layer} of the cache does not hold what is to be written"
            ))),
        }
    }
}

impl KeysAndValues {
    fn read(&self, gpu: &Gpu, buffer: &Buffer, positions: usize) -> Result<Vec<f32>, BackendError> {
        let bytes = gpu.download(buffer, positions * self.width * self.kind.bytes())?;
        Ok(match self.kind {
            CacheType::F32 => floats(&bytes),
            CacheType::F16 => {
                let halves = bytes.as_chunks().0.iter();
                halves
                    .map(|half| f16::from_le_bytes(*half).to_f32())
                    .collect()
            }
        })
    }

    fn write(&self, gpu: &Gpu, buffer: &Buffer, from: &[f32]) -> Result<(), BackendError> {
        let bytes: Vec<u8> = match self.kind {
            CacheType::F32 => from.iter().flat_map(|x| x.to_le_bytes()).collect(),
            CacheType::F16 => {
                let halves = from.iter().map(|x| f16::from_f32(*x));
                halves.flat_map(f16::to_le_bytes).collect()
            }
        };
        gpu.upload(buffer, 0, &bytes)
    }
}
