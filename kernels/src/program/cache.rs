//! What a sequence keeps from token to token, layer by layer.

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheType {
    /// binary16; queries are rounded to it before they meet a key, as the references do.
    F16,
    /// binary32.
    F32,
}

impl CacheType {
    /// Bytes of an element.
    pub const fn bytes(self) -> usize {
        match self {
            CacheType::F16 => 2,
            CacheType::F32 => 4,
        }
    }
}

/// What one layer keeps of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerCache {
    /// Keys and values of every position, in the program's [`CacheType`]. A sequence may go back to
    /// any position: what lies behind it is overwritten.
    KeysAndValues {
        /// Heads that have keys and values.
        kv_heads: usize,
        /// Elements of a head.
        head_dim: usize,
    },
    /// Values in f32 that stand for all tokens so far (a recurrent state, the last inputs of a
    /// convolution), zero before the first. What they were at an earlier position is lost, so a
    /// sequence only goes forward: a backend refuses to continue it elsewhere than at its end.
    State {
        /// How many values.
        len: usize,
    },
}

impl LayerCache {
    /// Bytes that each position of a sequence takes.
    pub const fn bytes_per_position(self, cache_type: CacheType) -> usize {
        match self {
            LayerCache::KeysAndValues { kv_heads, head_dim } => {
                2 * kv_heads * head_dim * cache_type.bytes()
            }
            LayerCache::State { .. } => 0,
        }
    }
}
