//! What numbers of a rotation and factors are believed.

use std::ops::RangeInclusive;

/// Bases of the rotation that are taken seriously; models have 1e4 to 1e7.
pub(super) const BASES: RangeInclusive<f32> = 1.0..=1e12;

/// Factors that are taken seriously: on positions, where models have 1 to 64, and on values.
pub(super) const FACTORS: RangeInclusive<f32> = 1e-6..=1e6;
