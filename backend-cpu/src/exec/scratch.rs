//! What each thread keeps for itself from pass to pass.

use std::sync::{Mutex, PoisonError};

use bitnet_kernels::format::Encoding;
use bitnet_kernels::order::LANES;
use bitnet_kernels::program::Rows;
use bitnet_kernels::{Batch, Program};

use crate::exec::groups::{Gathered, Groups};
use crate::exec::heads::most_weights;
use crate::exec::pieces::most_results;
use crate::generic::gemm::Panel;
use crate::head::best::Best;
use crate::head::scratch::SearchScratch;
use crate::isa::table::Kernels;
use crate::microkernel::columns::Column;

/// Values in one piece of what is computed value by value.
pub(super) const PIECE_VALUES: usize = 512;

/// What a thread keeps for itself from pass to pass.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Results of a piece of rows, `[tokens, rows]`.
    pub(crate) results: Vec<f32>,
    /// The same for the second product of a gated operation.
    pub(super) ups: Vec<f32>,
    pub(super) weights: Vec<f32>,
    pub(super) values: Vec<f32>,
    /// Rows of a matrix that are needed, where others are left out.
    pub(super) list: Vec<u32>,
    /// Columns of a matrix that are needed, and the activations that they meet.
    pub(super) columns: Vec<Column>,
    /// Those of a piece, in the order in which they are read.
    pub(super) taken: Vec<Column>,
    /// Bytes of weights that this thread has left out so far, since what they would be multiplied
    /// by is 0.
    pub(crate) skipped: u64,
    pub(super) halves: Vec<u16>,
    /// A row of weights, where few of a matrix are read.
    pub(crate) row: Box<[u8]>,
    pub(crate) panel: Panel,
    pub(crate) search: SearchScratch,
    /// The experts of a token, and the rows of all of them.
    pub(super) best: Best,
    pub(super) groups: Groups,
    /// Activations of the rows of one expert, for a gate and its factor.
    pub(super) gathered: [Gathered; 2],
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

    /// Makes room for a pass over `batch`, whose caches have up to `positions`.
    pub(crate) fn reserve(
        &mut self,
        batch: &Batch<'_>,
        positions: usize,
        program: &Program,
        kernels: &Kernels,
    ) {
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
        let counts = [Rows::Batch, Rows::Selected].map(|rows| batch.rows(rows));
        let piece = most_results(counts, kernels.piece_panels);
        grow(&mut self.results, piece);
        grow(&mut self.ups, piece);
        // Rows, pieces of rows, and a query and a key of the delta rule, which are in a row too.
        let mut values = widest.max(PIECE_VALUES);
        for shape in program.attention_shapes() {
            let group = shape.heads / shape.kv_heads;
            values = values.max(group * shape.head_dim.next_multiple_of(LANES));
            grow(&mut self.weights, most_weights(shape, positions));
        }
        grow(&mut self.values, values);
        let encoded = program.buffers.iter().map(|buffer| match buffer.encoding {
            Encoding::I8 => buffer.width,
            _ => 0,
        });
        let encoded = encoded.max().unwrap_or(0);
        for columns in [&mut self.columns, &mut self.taken] {
            columns.clear();
            columns.reserve(encoded);
        }
        self.list.clear();
        self.list.reserve(PIECE_VALUES);
        // Keys on their way to the cache.
        self.halves.resize(widest, 0);
        if counts.into_iter().any(|count| count > 1) {
            self.panel.reserve_for(widest);
        }
        self.panel.reserve_activations(widest);
    }
}
