//! What each thread keeps for itself from pass to pass.

use std::sync::{Mutex, PoisonError};

use bitnet_kernels::Program;
use bitnet_kernels::order::LANES;

use crate::generic::gemm::Panel;
use crate::head::scratch::SearchScratch;

/// Rows of a matrix in one piece of work for many tokens; a power of two times that for few, if
/// there are pieces enough.
pub(super) const PIECE_ROWS: usize = crate::generic::gemm::PANEL_ROWS;
/// The most rows in a piece for few tokens. Within a piece, rows are prefetched.
pub(super) const MAX_PIECE_ROWS: usize = 256;
/// The most tokens that count as few.
pub(super) const FEW_TOKENS: usize = 64;

/// What a thread keeps for itself from pass to pass.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Results of a piece of rows, `[tokens, rows]`.
    pub(crate) results: Vec<f32>,
    /// The same for the second product of a gated operation.
    pub(super) ups: Vec<f32>,
    pub(super) weights: Vec<f32>,
    pub(super) values: Vec<f32>,
    pub(super) halves: Vec<u16>,
    /// A row of weights, where few of a matrix are read.
    pub(crate) row: Box<[u8]>,
    pub(crate) panel: Panel,
    pub(crate) search: SearchScratch,
}

impl Scratch {
    /// Scratch with room for rows of weights of up to `longest_row` bytes.
    pub(crate) fn new(longest_row: usize) -> Scratch {
        Scratch {
            row: vec![0; longest_row].into(),
            ..Scratch::default()
        }
    }

    /// A thread's scratch, between passes.
    pub(crate) fn exclusive(scratch: &mut Mutex<Scratch>) -> &mut Scratch {
        // What a thread that panicked left is made anew by the next pass.
        scratch.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a pass over `tokens` of sequences of up to `positions`.
    pub(crate) fn reserve(&mut self, tokens: usize, positions: usize, program: &Program) {
        let widest = program
            .buffers
            .iter()
            .map(|buffer| buffer.width)
            .max()
            .unwrap_or(0);
        let grow = |vec: &mut Vec<f32>, len: usize| {
            if vec.len() < len {
                vec.resize(len, 0.0);
            }
        };
        let rows = if tokens > FEW_TOKENS {
            PIECE_ROWS
        } else {
            MAX_PIECE_ROWS
        };
        grow(&mut self.results, tokens * rows);
        grow(&mut self.ups, tokens * rows);
        // For the most heads that attention handles at once.
        grow(&mut self.weights, 4 * positions.next_multiple_of(LANES));
        let mut longest_head = 0;
        let mut results = widest;
        for shape in program.attention_shapes() {
            let group = shape.heads / shape.kv_heads;
            results = results.max(group * shape.head_dim.next_multiple_of(LANES));
            longest_head = longest_head.max(shape.head_dim);
        }
        grow(&mut self.values, results);
        self.halves.resize(longest_head, 0);
        if tokens > 1 {
            self.panel.reserve(PIECE_ROWS, widest);
        }
    }
}
