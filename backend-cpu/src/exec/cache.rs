//! Keys and values of one sequence.

use bitnet_kernels::order::LANES;
use bitnet_kernels::program::{CacheType, Program};

use crate::memory::shared::Cells;

/// The cache of one sequence, all layers.
///
/// Keys: `[layer][kv_head][position / 16][head_dim][16]`, so that sixteen scores are computed side
/// by side. Values: `[layer][kv_head][position][stride]`, rows padded with zeros to a multiple of
/// 16 elements.
pub(crate) struct Cache {
    pub(crate) keys: Elements,
    pub(crate) values: Elements,
    pub(crate) shape: CacheShape,
}

/// Elements of either type; the other vector is empty.
#[derive(Default)]
pub(crate) struct Elements {
    pub(crate) f16: Cells<u16>,
    pub(crate) f32: Cells<f32>,
}

/// Where things lie.
#[derive(Clone, Copy)]
pub(crate) struct CacheShape {
    pub(crate) kv_heads: usize,
    pub(crate) head_dim: usize,
    /// Elements of a row of values.
    pub(crate) stride: usize,
    /// Rounded up to a multiple of 16.
    pub(crate) positions: usize,
}

impl CacheShape {
    /// The first key of a head, and the number of elements of all its keys.
    pub(crate) fn keys(&self, layer: usize, kv_head: usize) -> (usize, usize) {
        let len = self.positions * self.head_dim;
        ((layer * self.kv_heads + kv_head) * len, len)
    }

    /// Where element `d` of the key at `position` lies.
    pub(crate) fn key(&self, layer: usize, kv_head: usize, position: usize, d: usize) -> usize {
        let tile = position / LANES * self.head_dim * LANES;
        self.keys(layer, kv_head).0 + tile + d * LANES + position % LANES
    }

    /// Where the row of values at `position` starts.
    pub(crate) fn value(&self, layer: usize, kv_head: usize, position: usize) -> usize {
        ((layer * self.kv_heads + kv_head) * self.positions + position) * self.stride
    }
}

impl Cache {
    pub(crate) fn new(program: &Program, positions: usize) -> Cache {
        let attention = &program.attention;
        let shape = CacheShape {
            kv_heads: attention.kv_heads,
            head_dim: attention.head_dim,
            stride: attention.head_dim.next_multiple_of(LANES),
            positions: positions.next_multiple_of(LANES),
        };
        let rows = program.layers * shape.kv_heads * shape.positions;
        let mut cache = Cache {
            keys: Elements::default(),
            values: Elements::default(),
            shape,
        };
        for (elements, len) in [
            (&mut cache.keys, rows * shape.head_dim),
            (&mut cache.values, rows * shape.stride),
        ] {
            match program.cache_type {
                CacheType::F16 => elements.f16.reserve(len),
                CacheType::F32 => elements.f32.reserve(len),
            }
        }
        cache
    }
}

impl Elements {
    /// Element `at`, decoded.
    pub(crate) fn get(&mut self, at: usize) -> f32 {
        match self.f16.as_mut().get(at) {
            Some(x) => half::f16::from_bits(*x).to_f32(),
            None => self.f32.as_mut()[at],
        }
    }

    /// Writes element `at`.
    pub(crate) fn set(&mut self, at: usize, x: f32) {
        match self.f16.as_mut().get_mut(at) {
            Some(place) => *place = half::f16::from_f32(x).to_bits(),
            None => self.f32.as_mut()[at] = x,
        }
    }
}
