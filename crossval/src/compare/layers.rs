//! The residual stream, layer by layer: which layer is the first to part from the reference.
//!
//! Two measures per layer. *Free*: both sides run on their own, so that small differences of
//! earlier layers grow. *Local*: our layer is given the reference's own input to that layer, so
//! that only what this very layer does differently remains. A wrong kernel shows in the local
//! measure of its layer and in no other, long before it shows in the logits.
//!
//! A reference rounds its softmax weights in one way when it is fed a batch and in another when it
//! is fed one token at a time; a position counts by the way that is nearer to ours ([`pick`]).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::metrics::{VectorDistance, norm};
use super::trajectory::Trajectory;

/// Median local NMSE up to which a layer computes what the reference's does. Right layers stay
/// below 1e-12 for models of 256 to 1024 wide and below 2e-11 at 2560; one wrong trit is at 1e-8 to
/// 1e-4, a scale off by 1 % at 1e-5 to 1e-4. A single activation that rounds to the other integer
/// takes its position to 1e-4, which is why the median decides.
pub(crate) const LAYER_BOUND: f64 = 1e-9;

/// The same where llama.cpp rounds the activations that meet weights of F16 to f16 (4e-8) and ours
/// does not: for the head, and for a layer of such weights.
pub(crate) const HALVES_BOUND: f64 = 1e-6;

/// The distance of one layer's output from the reference's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerDistance {
    /// The layer, from 0.
    pub layer: usize,
    /// Whether it has matrices of F16.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub halves: bool,
    /// Both on their own.
    pub free: LayerSpread,
    /// Our layer on the reference's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LayerSpread>,
    /// The reference against itself: the widest of what was varied.
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
    /// The same, median: what is there at most positions, and not only where a rounding fell
    /// otherwise.
    pub median_nmse: f64,
    /// The largest.
    pub max_nmse: f64,
    /// The smallest cosine.
    pub min_cosine: f64,
    /// The first position with the largest NMSE.
    pub worst_position: usize,
    /// The first position whose NMSE no rounding of floats alone explains: above 1e-9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_position: Option<usize>,
}

impl LayerSpread {
    /// Sums up the rows of a layer.
    pub fn of(rows: &[VectorDistance]) -> Self {
        let count = rows.len().max(1) as f64;
        let mut nmse: Vec<f64> = rows.iter().map(|row| row.nmse).collect();
        let max_nmse = nmse.iter().copied().fold(0.0, f64::max);
        let worst_position = nmse.iter().position(|n| *n == max_nmse).unwrap_or(0);
        let first_position = nmse.iter().position(|n| *n > LAYER_BOUND);
        let mean_nmse = nmse.iter().sum::<f64>() / count;
        nmse.sort_unstable_by(f64::total_cmp);
        Self {
            mean_mse: rows.iter().map(|row| row.mse).sum::<f64>() / count,
            mean_nmse,
            median_nmse: nmse.get(nmse.len() / 2).copied().unwrap_or(0.0),
            max_nmse,
            min_cosine: rows.iter().map(|row| row.cosine).fold(1.0, f64::min),
            worst_position,
            first_position,
        }
    }
}

/// The distance of each row of `width` values.
pub(crate) fn rows(ours: &[f32], theirs: &[f32], width: usize) -> Vec<VectorDistance> {
    let (ours, theirs) = (ours.chunks(width), theirs.chunks(width));
    ours.zip(theirs)
        .map(|(ours, theirs)| VectorDistance::between(ours, theirs))
        .collect()
}

/// Row by row the nearer of two distances, or the further.
pub(crate) fn pick(
    a: Vec<VectorDistance>,
    b: &[VectorDistance],
    better: impl Fn(f64, f64) -> bool,
) -> Vec<VectorDistance> {
    a.into_iter()
        .zip(b)
        .map(|(a, b)| if better(b.nmse, a.nmse) { *b } else { a })
        .collect()
}

/// What part of a model is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// A layer, from 0.
    Layer(usize),
    /// Output norm and output matrix.
    Head,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer) => write!(f, "layer {layer}"),
            Self::Head => f.write_str("the head"),
        }
    }
}

/// The first part of a model that computes something else than the reference's.
#[derive(Debug, Clone, PartialEq)]
pub struct PartFinding {
    /// The part.
    pub part: Part,
    /// The first position at which it is off.
    pub first: usize,
    /// The position at which it is furthest off.
    pub worst: usize,
    /// Its median local NMSE.
    pub found: f64,
    /// What a right kernel stays below.
    pub bound: f64,
}

impl fmt::Display for PartFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            part,
            first,
            worst,
            found,
            bound,
        } = self;
        write!(
            f,
            "{part} is the first to part: given the reference's own input, its output is off by a median NMSE of \
             {found:.1e} (bound {bound:.1e}), first at position {first}, most at position {worst}"
        )
    }
}

/// Compares layer by layer, both sides on their own. The rows of `own` and `local` are the caller's
/// to choose. `halves` tells which layers have matrices of F16.
pub(crate) fn compare(
    ours: &[Vec<f32>],
    halves: &[bool],
    theirs: &Trajectory,
    own: &[Vec<VectorDistance>],
    local: &[Vec<VectorDistance>],
) -> Vec<LayerDistance> {
    let hidden = theirs.hidden;
    let mean_norm = |values: &[f32]| {
        values.chunks(hidden).map(norm).sum::<f64>() / (values.len() / hidden).max(1) as f64
    };
    let layers = ours.iter().zip(&theirs.layers).zip(own).enumerate();
    layers
        .map(|(layer, ((ours, theirs), own))| LayerDistance {
            layer,
            halves: halves.get(layer).copied().unwrap_or(false),
            free: LayerSpread::of(&rows(ours, theirs, hidden)),
            local: local.get(layer).map(|rows| LayerSpread::of(rows)),
            own: LayerSpread::of(own),
            norm_ours: mean_norm(ours),
            norm_theirs: mean_norm(theirs),
        })
        .collect()
}

/// The first part whose local measure no rounding explains.
pub(crate) fn first_to_part(
    layers: &[LayerDistance],
    head: Option<&LayerSpread>,
) -> Option<PartFinding> {
    let layers = layers.iter().filter_map(|layer| {
        let bound = match layer.halves {
            true => HALVES_BOUND,
            false => LAYER_BOUND,
        };
        Some((Part::Layer(layer.layer), layer.local?, bound))
    });
    let head = head.map(|head| (Part::Head, *head, HALVES_BOUND));
    layers.chain(head).find_map(|(part, local, bound)| {
        let within = local.median_nmse <= bound;
        (!within).then_some(PartFinding {
            part,
            first: local.first_position.unwrap_or(local.worst_position),
            worst: local.worst_position,
            found: local.median_nmse,
            bound,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(nmse: f64) -> VectorDistance {
        VectorDistance {
            mse: nmse,
            nmse,
            max_abs: nmse,
            cosine: 1.0,
        }
    }

    fn layer(layer: usize, local: &[f64]) -> LayerDistance {
        let zero = LayerSpread::of(&[row(0.0)]);
        let local: Vec<_> = local.iter().map(|nmse| row(*nmse)).collect();
        LayerDistance {
            layer,
            halves: false,
            free: zero,
            local: Some(LayerSpread::of(&local)),
            own: zero,
            norm_ours: 1.0,
            norm_theirs: 1.0,
        }
    }

    #[test]
    fn a_rounding_at_few_positions_is_no_wrong_layer_but_a_distance_at_most_of_them_is() {
        let right = [0.0, 1e-14, 1e-4, 1e-13, 2e-14];
        assert_eq!(
            first_to_part(&[layer(0, &right), layer(1, &right)], None),
            None
        );
        let wrong = [0.0, 1e-6, 1e-4, 1e-6, 2e-14];
        let found = first_to_part(
            &[layer(0, &right), layer(1, &wrong), layer(2, &wrong)],
            None,
        );
        let found = found.expect("layer 1 is wrong");
        assert_eq!(
            (found.part, found.first, found.worst),
            (Part::Layer(1), 1, 2)
        );
        assert!(
            found
                .to_string()
                .starts_with("layer 1 is the first to part"),
            "{found}"
        );
    }

    #[test]
    fn the_head_has_a_bound_of_its_own_and_what_is_not_a_number_is_above_any() {
        let head = |nmse: f64| LayerSpread::of(&[row(nmse)]);
        assert_eq!(first_to_part(&[], Some(&head(4e-8))), None);
        let found = first_to_part(&[], Some(&head(1e-4))).expect("the head is wrong");
        assert_eq!(found.part, Part::Head);
        assert!(first_to_part(&[layer(0, &[f64::NAN])], None).is_some());
    }

    #[test]
    fn a_layer_of_halves_is_held_to_the_bound_of_the_head() {
        let mut layers = [layer(0, &[4e-8; 3])];
        assert!(first_to_part(&layers, None).is_some());
        layers[0].halves = true;
        assert_eq!(first_to_part(&layers, None), None);
        layers[0] = layer(0, &[2e-6; 3]);
        layers[0].halves = true;
        assert!(first_to_part(&layers, None).is_some());
    }
}
