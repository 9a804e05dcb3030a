//! What a sequence keeps from token to token, layer by layer.

use bitnet_kernels::batch::cache_positions;
use bitnet_kernels::order::LANES;
use bitnet_kernels::program::{CacheType, LayerCache, Program};
use bitnet_kernels::{BackendError, CacheId, Checkpoint, LayerContents};

use crate::memory::shared::SharedSlice;

/// The cache of one sequence.
pub(crate) struct Cache {
    /// Tokens that the states stand for; none while a pass is on its way, or after one that failed.
    pub(crate) stands: Option<usize>,
    /// Positions that fit.
    pub(crate) positions: usize,
    layers: Vec<Layer>,
}

/// What one layer keeps.
enum Layer {
    KeysAndValues(KeysAndValues),
    State {
        values: SharedSlice<f32>,
        len: usize,
    },
}

/// Keys and values of one layer.
///
/// Keys: `[kv_head][position / 16][head_dim][16]`, so that sixteen scores are computed side by
/// side. Values: `[kv_head][position][stride]`, rows padded with zeros to a multiple of 16
/// elements.
pub(crate) struct KeysAndValues {
    pub(crate) keys: Elements,
    pub(crate) values: Elements,
    pub(crate) shape: CacheShape,
}

/// Elements of either type; the other vector is empty.
#[derive(Default)]
pub(crate) struct Elements {
    pub(crate) f16: SharedSlice<u16>,
    pub(crate) f32: SharedSlice<f32>,
}

/// Where things lie.
#[derive(Clone, Copy)]
pub(crate) struct CacheShape {
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Elements of a row of values.
    pub(crate) stride: usize,
    positions: usize,
}

impl CacheShape {
    /// Where element `d` of the key at `position` lies.
    pub(crate) fn key(&self, kv_head: usize, position: usize, d: usize) -> usize {
        let strip = position / LANES * self.head_dim * LANES;
        kv_head * self.positions * self.head_dim + strip + d * LANES + position % LANES
    }

    /// Where the row of values at `position` starts.
    pub(crate) fn value(&self, kv_head: usize, position: usize) -> usize {
        (kv_head * self.positions + position) * self.stride
    }
}

impl Cache {
    /// An empty cache; `None` where there is no memory for it.
    pub(crate) fn new(program: &Program, positions: usize) -> Option<Cache> {
        let layer = |layer: &LayerCache| match *layer {
            LayerCache::KeysAndValues { kv_heads, head_dim } => {
                let layer = KeysAndValues::new(program.cache_type, kv_heads, head_dim, positions)?;
                Some(Layer::KeysAndValues(layer))
            }
            LayerCache::State { len } => {
                let mut values = SharedSlice::default();
                values.try_reserve(len).ok()?;
                Some(Layer::State { values, len })
            }
        };
        Some(Cache {
            stands: Some(0),
            positions,
            layers: program.caches.iter().map(layer).collect::<Option<_>>()?,
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
    pub(crate) fn state(&self, layer: usize) -> &SharedSlice<f32> {
        match &self.layers[layer] {
            Layer::State { values, .. } => values,
            Layer::KeysAndValues(_) => unreachable!("the program was validated"),
        }
    }

    fn states(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.layers.iter_mut().filter_map(|layer| match layer {
            Layer::State { values, .. } => Some(values.as_mut()),
            Layer::KeysAndValues(_) => None,
        })
    }

    /// Copies the states of cache `id`, which this is.
    pub(crate) fn checkpoint(&mut self, id: CacheId) -> Result<Checkpoint, BackendError> {
        let Some(tokens) = self.stands else {
            return Err(BackendError::NoWayBack {
                cache: id.0,
                stands: None,
                start: 0,
            });
        };
        Ok(Checkpoint {
            tokens,
            states: self.states().map(|state| state.to_vec()).collect(),
        })
    }

    /// Takes the states back to a checkpoint, or to the beginning.
    pub(crate) fn rewind(&mut self, to: Option<&Checkpoint>) -> Result<(), BackendError> {
        let Some(to) = to else {
            self.states().for_each(|state| state.fill(0.0));
            self.stands = Some(0);
            return Ok(());
        };
        to.fits(self.states().map(|state| state.len()))?;
        for (state, kept) in self.states().zip(&to.states) {
            state.copy_from_slice(kept);
        }
        self.stands = Some(to.tokens);
        Ok(())
    }

    /// What a layer holds; of keys and values, those of `0 .. positions`.
    pub(crate) fn read(
        &mut self,
        layer: usize,
        positions: usize,
    ) -> Result<LayerContents, BackendError> {
        cache_positions(0, positions, self.positions)?;
        match self.layers.get_mut(layer) {
            Some(Layer::KeysAndValues(layer)) => Ok(layer.read(positions)),
            Some(Layer::State { values, .. }) => Ok(LayerContents::State(values.as_mut().to_vec())),
            None => Err(BackendError::Batch(format!("there is no layer {layer}"))),
        }
    }

    /// Overwrites what a layer holds.
    pub(crate) fn write(
        &mut self,
        layer: usize,
        contents: &LayerContents,
    ) -> Result<(), BackendError> {
        match (self.layers.get_mut(layer), contents) {
            (Some(Layer::KeysAndValues(kept)), LayerContents::KeysAndValues { keys, values })
                if keys.len() == values.len() && kept.has_room(keys.len()) =>
            {
                kept.write(keys, values);
                Ok(())
            }
            (Some(Layer::State { values: kept, len }), LayerContents::State(values))
                if values.len() == *len =>
            {
                kept.as_mut().copy_from_slice(values);
                Ok(())
            }
            _ => Err(BackendError::Batch(format!(
                "layer {layer} of the cache does not hold what is to be written"
            ))),
        }
    }
}

impl KeysAndValues {
    fn new(
        cache_type: CacheType,
        kv_heads: usize,
        head_dim: usize,
        positions: usize,
    ) -> Option<KeysAndValues> {
        // Whole strips of keys.
        let positions = positions.checked_next_multiple_of(LANES)?;
        let shape = CacheShape {
            kv_heads,
            head_dim,
            stride: head_dim.next_multiple_of(LANES),
            positions,
        };
        let elements = |width: usize| {
            let mut elements = Elements::default();
            let len = kv_heads.checked_mul(positions)?.checked_mul(width)?;
            let reserved = match cache_type {
                CacheType::F16 => elements.f16.try_reserve(len),
                CacheType::F32 => elements.f32.try_reserve(len),
            };
            reserved.ok().map(|()| elements)
        };
        Some(KeysAndValues {
            keys: elements(head_dim)?,
            values: elements(shape.stride)?,
            shape,
        })
    }

    /// Whether so many keys fit.
    fn has_room(&self, len: usize) -> bool {
        len <= self.shape.positions * self.shape.kv_heads * self.shape.head_dim
    }

    /// `[positions, kv_heads, head_dim]` each.
    fn read(&mut self, positions: usize) -> LayerContents {
        let shape = self.shape;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for position in 0..positions {
            for head in 0..shape.kv_heads {
                for d in 0..shape.head_dim {
                    keys.push(self.keys.get(shape.key(head, position, d)));
                    values.push(self.values.get(shape.value(head, position) + d));
                }
            }
        }
        LayerContents::KeysAndValues { keys, values }
    }

    fn write(&mut self, keys: &[f32], values: &[f32]) {
        let shape = self.shape;
        for (i, (key, value)) in keys.iter().zip(values).enumerate() {
            let (row, d) = (i / shape.head_dim, i % shape.head_dim);
            let (position, head) = (row / shape.kv_heads, row % shape.kv_heads);
            self.keys.set(shape.key(head, position, d), *key);
            self.values.set(shape.value(head, position) + d, *value);
        }
    }
}

impl Elements {
    /// Element `at`, decoded.
    fn get(&mut self, at: usize) -> f32 {
        match self.f16.as_mut().get(at) {
            Some(x) => half::f16::from_bits(*x).to_f32(),
            None => self.f32.as_mut()[at],
        }
    }

    /// Writes element `at`.
    fn set(&mut self, at: usize, x: f32) {
        match self.f16.as_mut().get_mut(at) {
            Some(place) => *place = half::f16::from_f32(x).to_bits(),
            None => self.f32.as_mut()[at] = x,
        }
    }
}
