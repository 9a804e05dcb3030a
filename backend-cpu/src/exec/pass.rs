//! One forward pass: what its threads share.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bitnet_kernels::order::finite_or_nan;
use bitnet_kernels::program::{BufferId, Product, Rows};
use bitnet_kernels::{CacheId, Program, Segment};

use crate::exec::buffers::Buffer;
use crate::exec::cache::Cache;
use crate::exec::clock::Clock;
use crate::exec::columns::Columns;
use crate::exec::pieces::piece_rows;
use crate::exec::rotation::Rotation;
use crate::exec::scratch::Scratch;
use crate::exec::weights::Weights;
use crate::generic::gemm::Panel;
use crate::head::threshold::Search;
use crate::isa::table::{Kernels, ProductKernel};
use crate::memory::shared::SharedSlice;
use crate::microkernel::operands::{Encoded, MatrixRef};

/// A token's place.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The sequence's cache.
    pub(crate) cache: CacheId,
    pub(crate) position: usize,
}

/// What all threads of a pass share.
pub(crate) struct Pass<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) program: &'a Program,
    pub(crate) weights: &'a Weights,
    pub(crate) columns: &'a Columns,
    pub(crate) buffers: &'a [Buffer],
    /// All caches, those of the batch's tokens among them.
    pub(crate) caches: &'a BTreeMap<CacheId, Cache>,
    pub(crate) tokens: &'a [u32],
    /// Runs of tokens of one sequence.
    pub(crate) segments: &'a [Segment],
    pub(crate) places: &'a [Place],
    pub(crate) selected: &'a [u32],
    pub(crate) ops: Range<usize>,
    /// With it, the head finds the best logits instead of writing all of them.
    pub(crate) search: Option<Search<'a>>,
    /// By [`RotationId`](bitnet_kernels::program::RotationId).
    pub(crate) rotations: &'a [Rotation],
    /// Threads that share the work at a time.
    pub(crate) threads: usize,
    /// Each thread's own.
    pub(crate) scratch: &'a [Mutex<Scratch>],
    pub(crate) clock: Option<&'a Clock>,
    /// Scores of attention that is split.
    pub(crate) scores: &'a SharedSlice<f32>,
    /// What comes next: 0 the rotations, then the operations.
    pub(crate) next: AtomicUsize,
    /// The stage of what is under way, of those that it has.
    pub(crate) stage: AtomicUsize,
}

impl Pass<'_> {
    /// A thread's scratch.
    pub(super) fn scratch(&self, thread: usize) -> MutexGuard<'_, Scratch> {
        let scratch = self.scratch[thread].lock();
        scratch.unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Rows that a buffer has in this pass.
    pub(super) fn rows(&self, id: BufferId) -> usize {
        match self.program.buffer(id).rows {
            Rows::Batch => self.tokens.len(),
            Rows::Selected => self.selected.len(),
            Rows::Routed { experts } => self.tokens.len() * experts,
        }
    }

    pub(crate) fn matrix(&self, product: &Product) -> MatrixRef<'_> {
        self.weights.matrix(product.weight)
    }

    pub(crate) fn encoded(&self, product: &Product) -> Encoded<'_> {
        // SAFETY: written by earlier operations; none writes its own input.
        unsafe { self.buffer(product.x).encoded(self.rows(product.x)) }
    }

    /// Rows in a piece of an operation that makes `total` of them for each of `tokens` rows of
    /// activations.
    pub(super) fn piece_rows(&self, total: usize, tokens: usize) -> usize {
        piece_rows(total, tokens, self.threads, self.kernels.piece_panels)
    }

    /// The kernel for a product.
    pub(crate) fn kernel(&self, product: &Product) -> ProductKernel {
        let format = self.program.weight(product.weight).format;
        self.kernels.product(format, self.rows(product.x))
    }

    /// Computes `rows` of a product for all its tokens into `out`, `[tokens, rows]`.
    pub(crate) fn product_rows(
        &self,
        product: &Product,
        rows: Range<usize>,
        panel: &mut Panel,
        out: &mut [f32],
    ) {
        let x = self.encoded(product);
        (self.kernel(product).run)(
            &self.matrix(product),
            rows,
            &x,
            0..self.rows(product.x),
            panel,
            out,
        );
        scale(product, out);
    }
}

/// Applies the factor of a product to its results.
pub(crate) fn scale(product: &Product, results: &mut [f32]) {
    if product.scale != 1.0 {
        for y in results {
            *y = finite_or_nan(*y * product.scale);
        }
    }
}
