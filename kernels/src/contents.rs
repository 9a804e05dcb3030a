//! What a device keeps of a sequence, as values to look at and to go back to.

use crate::error::BackendError;

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

/// The states of a sequence after some tokens, so that it can go back there.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Tokens that the sequence had read.
    pub tokens: usize,
    /// The values of each layer that keeps a [state](crate::program::LayerCache::State), in the
    /// order of layers.
    pub states: Vec<Vec<f32>>,
}

impl Checkpoint {
    /// Checks that it is of a program whose layers keep states of these lengths.
    ///
    /// # Errors
    /// [`BackendError::Batch`]: it is of another.
    pub fn fits(&self, lens: impl IntoIterator<Item = usize>) -> Result<(), BackendError> {
        if self.states.iter().map(Vec::len).eq(lens) {
            return Ok(());
        }
        Err(BackendError::Batch(
            "the checkpoint is of another program".to_owned(),
        ))
    }
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
