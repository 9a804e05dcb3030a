//! The residual stream, layer by layer: which layer is the first to part from the reference.
//!
//! Two measures per layer. *Free*: both sides run on their own, so that small
//! differences of earlier layers grow. *Local*: our layer is given the
//! reference's own input to that layer, so that only what this very layer does
//! differently remains. A wrong kernel shows in the local measure of its layer
//! and in no other, long before it shows in the logits.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metrics::{VectorDistance, norm};
use crate::trajectory::Trajectory;

/// The distance of one layer's output from the reference's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerDistance {
    /// The layer, from 0.
    pub layer: usize,
    /// Both on their own.
    pub free: LayerSpread,
    /// Our layer on the reference's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LayerSpread>,
    /// The reference against itself, one token at a time against one batch.
    pub own: LayerSpread,
    /// Mean norm of our rows.
    pub norm_ours: f64,
    /// Mean norm of the reference's rows.
    pub norm_theirs: f64,
}

/// Distances of many rows of one layer, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayerSpread {
    /// Mean squared error, mean over positions.
    pub mean_mse: f64,
    /// MSE over the variance of the reference, mean over positions.
    pub mean_nmse: f64,
    /// The same, median: what is there at most positions, and not only where a rounding fell otherwise.
    pub median_nmse: f64,
    /// The largest.
    pub max_nmse: f64,
    /// The smallest cosine.
    pub min_cosine: f64,
    /// The first position with the largest NMSE.
    pub worst_position: usize,
}

impl LayerSpread {
    /// Sums up the rows of a layer, `rows * hidden` values on each side.
    pub fn between(ours: &[f32], theirs: &[f32], hidden: usize) -> Self {
        let rows: Vec<_> = ours
            .chunks(hidden)
            .zip(theirs.chunks(hidden))
            .map(|(o, t)| VectorDistance::between(o, t))
            .collect();
        let count = rows.len().max(1) as f64;
        let mut nmse: Vec<f64> = rows.iter().map(|row| row.nmse).collect();
        let max_nmse = nmse.iter().copied().fold(0.0, f64::max);
        let worst_position = nmse.iter().position(|n| *n == max_nmse).unwrap_or(0);
        let mean_nmse = nmse.iter().sum::<f64>() / count;
        nmse.sort_unstable_by(f64::total_cmp);
        Self {
            mean_mse: rows.iter().map(|row| row.mse).sum::<f64>() / count,
            mean_nmse,
            median_nmse: nmse.get(nmse.len() / 2).copied().unwrap_or(0.0),
            max_nmse,
            min_cosine: rows.iter().map(|row| row.cosine).fold(1.0, f64::min),
            worst_position,
        }
    }
}

/// The first layer that parts, and why it counts as parted.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerFinding {
    /// The layer.
    pub layer: usize,
    /// The position at which it is furthest off.
    pub position: usize,
    /// Its median local NMSE.
    pub found: f64,
    /// What a right kernel stays below.
    pub bound: f64,
}

impl fmt::Display for LayerFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            layer,
            position,
            found,
            bound,
        } = self;
        write!(
            f,
            "layer {layer} is the first to part: given the reference's own input, its output is off by \
             a median NMSE of {found:.1e} (bound {bound:.1e}), most at position {position}"
        )
    }
}

/// Compares layer by layer. `local` holds our layers' outputs on the reference's inputs.
pub fn compare(
    ours: &Trajectory,
    theirs: &Trajectory,
    again: &Trajectory,
    local: &[Vec<f32>],
) -> Vec<LayerDistance> {
    let hidden = theirs.hidden;
    let rows = ours.rows().min(theirs.rows());
    let cut = |values: &'_ [f32]| values[..(rows * hidden).min(values.len())].to_vec();
    let mean_norm = |values: &[f32]| {
        values.chunks(hidden).map(norm).sum::<f64>() / (values.len() / hidden).max(1) as f64
    };
    (0..theirs.layers.len().min(ours.layers.len()))
        .map(|layer| {
            let (o, t) = (cut(&ours.layers[layer]), cut(&theirs.layers[layer]));
            LayerDistance {
                layer,
                free: LayerSpread::between(&o, &t, hidden),
                local: local
                    .get(layer)
                    .map(|l| LayerSpread::between(l, &t[..l.len()], hidden)),
                own: LayerSpread::between(&again.layers[layer], &theirs.layers[layer], hidden),
                norm_ours: mean_norm(&o),
                norm_theirs: mean_norm(&t),
            }
        })
        .collect()
}

/// The first layer whose local measure no rounding explains.
pub fn first_to_part(layers: &[LayerDistance], bound: f64) -> Option<LayerFinding> {
    layers.iter().find_map(|layer| {
        let local = layer.local?;
        let within = local.median_nmse <= bound;
        (!within).then_some(LayerFinding {
            layer: layer.layer,
            position: local.worst_position,
            found: local.median_nmse,
            bound,
        })
    })
}
