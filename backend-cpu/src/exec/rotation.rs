//! Cosines and sines of a program's rotations, for the tokens of a pass.

use std::ops::Range;

use bitnet_kernels::oracle;
use bitnet_kernels::program::{Pairing, Rope};

use crate::memory::shared::SharedSlice;

/// One rotation; all layers that rotate alike read the same table.
pub(crate) struct Rotation {
    pub(super) pairing: Pairing,
    magnitude: f32,
    /// One per pair.
    frequencies: Vec<f32>,
    /// Those of sequences whose capacity is above this.
    long: Option<(usize, Vec<f32>)>,
    /// `[tokens, 2, pairs]`, made by each pass.
    pub(super) table: SharedSlice<f32>,
}

impl Rotation {
    pub(crate) fn new(rope: &Rope) -> Rotation {
        let long = rope.long.as_ref().map(|long| long.beyond);
        Rotation {
            pairing: rope.pairing,
            magnitude: rope.magnitude,
            frequencies: oracle::rope_frequencies(rope, 0),
            long: long.map(|beyond| (beyond, oracle::rope_frequencies(rope, beyond + 1))),
            table: SharedSlice::default(),
        }
    }

    /// Makes capacity for `tokens` tokens.
    pub(crate) fn reserve(&mut self, tokens: usize) {
        self.table.reserve(self.row(tokens).start);
    }

    /// Where a token's cosines and sines lie.
    pub(super) fn row(&self, token: usize) -> Range<usize> {
        let len = self.frequencies.len() * 2;
        token * len..(token + 1) * len
    }

    /// Fills a token's row: cosines, then sines, at `position` of a sequence of this capacity.
    pub(super) fn fill(&self, position: usize, capacity: usize, row: &mut [f32]) {
        let frequencies = match &self.long {
            Some((beyond, long)) if capacity > *beyond => long,
            _ => &self.frequencies,
        };
        let (cosines, sines) = row.split_at_mut(frequencies.len());
        for ((cos, sin), frequency) in cosines.iter_mut().zip(sines).zip(frequencies) {
            (*cos, *sin) = oracle::rope_cos_sin(*frequency, self.magnitude, position);
        }
    }
}
