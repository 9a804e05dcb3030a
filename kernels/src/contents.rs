//! What a device keeps of a sequence, as values to look at.

/// What one layer of a cache holds, decoded to f32.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerContents {
    /// Each `[positions, kv_heads, head_dim]`.
    KeysAndValues {
        /// The keys.
        keys: Vec<f32>,
        /// The values.
        values: Vec<f32>,
    },
    /// Values that stand for all tokens so far.
    State(Vec<f32>),
}

impl LayerContents {
    /// The parts by name.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, &[f32])> {
        let parts: [Option<(&'static str, &[f32])>; 2] = match self {
            LayerContents::KeysAndValues { keys, values } => {
                [Some(("keys", keys)), Some(("values", values))]
            }
            LayerContents::State(state) => [Some(("state", state)), None],
        };
        parts.into_iter().flatten()
    }
}
