//! Factors on the embedding, the residual stream and the logits.

use super::ranges::FACTORS;
use crate::architecture::Architecture;
use crate::metadata::Keys;

/// Factors that an architecture has beside its weights; 1 where it has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scales {
    /// On a token's embedding.
    pub embedding: f32,
    /// On what attention and the feed-forward network add to the residual stream.
    pub residual: f32,
    /// What logits are divided by.
    pub logits: f32,
}

impl Scales {
    const NONE: Scales = Scales {
        embedding: 1.0,
        residual: 1.0,
        logits: 1.0,
    };
}

/// The scales of an architecture that has them. Where a key is absent they are MiniCPM's, as
/// llama.cpp has them: its last is a slip, since converters write its inverse, but what it is
/// compared with must be the same. Logits in another scale have the same order.
pub(super) fn read(
    keys: &mut Keys<'_>,
    architecture: &Architecture,
    embedding: usize,
    layers: usize,
) -> Scales {
    if !architecture.scales {
        return Scales::NONE;
    }
    let residual = 1.4 / (layers as f32).sqrt();
    let logits = 256.0 / embedding as f32;
    Scales {
        embedding: keys.number_within("embedding_scale", Some(12.0), FACTORS),
        residual: keys.number_within("residual_scale", Some(residual), FACTORS),
        logits: keys.number_within("logit_scale", Some(logits), FACTORS),
    }
}
