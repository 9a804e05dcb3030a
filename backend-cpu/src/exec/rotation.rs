//! Cosines and sines of a program's rotations, for the tokens of a pass.

use std::ops::Range;

use bitnet_kernels::oracle;
use bitnet_kernels::program::{Pairing, Rope};

use crate::memory::shared::SharedSlice;

/// One rotation; all layers that rotate alike read the same table.
pub(crate) struct Rotation {
    pub(super) pairing: Pairing,
    /// One per pair.
    pub(super) frequencies: Vec<f32>,
    /// `[tokens, 2, pairs]`, made by each pass.
    pub(super) table: SharedSlice<f32>,
}

impl Rotation {
    pub(crate) fn new(rope: &Rope) -> Rotation {
        Rotation {
            pairing: rope.pairing,
            frequencies: oracle::rope_frequencies(rope),
            table: SharedSlice::default(),
        }
    }

    /// Makes room for `tokens` tokens.
    pub(crate) fn reserve(&mut self, tokens: usize) {
        self.table.reserve(self.row(tokens).start);
    }

    /// Where a token's cosines and sines lie.
    pub(super) fn row(&self, token: usize) -> Range<usize> {
        let len = self.frequencies.len() * 2;
        token * len..(token + 1) * len
    }
}
