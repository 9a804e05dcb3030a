//! Matrices that meet the results of a squared ReLU, by columns.
//!
//! Most of these results are 0, or become 0 when they are encoded. With one token, only the columns
//! that meet others are read, of a copy in which a column lies together.
//!
//! Copies are made by passes of one token, a few in each, of the rows that they read anyway, and
//! only of matrices of whose activations enough were 0 in the pass before. The rows are still read
//! where several tokens meet them, or too few activations were 0 in the pass before.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitnet_kernels::Program;
use bitnet_kernels::program::{Activation, BufferId, Op, WeightId};

use crate::exec::weights::Weights;
use crate::isa::table::{ByColumns, Kernels};
use crate::memory::pages::{Pages, Plain};
use crate::memory::shared::SharedSlice;
use crate::microkernel::columns::{LINE_ROWS, Line};

/// Copies that are made in a pass.
const AT_ONCE: usize = 2;

/// Reading columns pays while they are at most this share of all: memory gives runs of bytes more
/// slowly than what lies side by side (`benches/memory.rs`).
const MOST: f64 = 0.7;

// SAFETY: an array of bytes, aligned to 64.
unsafe impl Plain for Line {}

/// The matrices of a program that can be read by columns.
pub(crate) struct Columns {
    matrices: Vec<Matrix>,
    /// `[thread][line][row]`: what each thread has added up, in the order in which they came.
    pub(super) sums: SharedSlice<i32>,
}

/// A matrix that can be read by columns.
pub(crate) struct Matrix {
    /// The operation that multiplies with it.
    op: usize,
    pub(super) weight: WeightId,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) kernels: &'static ByColumns,
    /// `[column][line]`.
    pub(super) copy: Option<Pages<Line>>,
    state: State,
    /// Whether the pass under way reads columns.
    chosen: bool,
    /// Threads that add up columns in the pass under way.
    pub(super) adding: AtomicUsize,
    /// Activations of the last pass of one token that were not 0; all, before there was one.
    pub(super) seen: AtomicUsize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no copy.
    Rows,
    /// The pass under way makes it.
    Making,
    /// It is made.
    Ready,
    /// There was no memory for it.
    Refused,
}

/// The buffers that hold results of a squared ReLU, or the norm or the encoding of such.
fn sparse_buffers(program: &Program) -> Vec<BufferId> {
    let mut buffers = Vec::new();
    for op in &program.ops {
        match op {
            Op::GatedLinear {
                activation: Activation::Relu2,
                out,
                ..
            } => buffers.push(*out),
            Op::Norm { x, out, .. } | Op::Encode { x, out } if buffers.contains(x) => {
                buffers.push(*out);
            }
            _ => {}
        }
    }
    buffers
}

impl Columns {
    pub(crate) fn new(program: &Program, kernels: &Kernels, threads: usize) -> Columns {
        let sparse = sparse_buffers(program);
        let matrices = program.ops.iter().enumerate().filter_map(|(op, of)| {
            let Op::Linear { products, .. } = of else {
                return None;
            };
            let [(product, _)] = products.as_slice() else {
                return None;
            };
            let desc = program.weight(product.weight);
            Some(Matrix {
                op,
                weight: product.weight,
                rows: desc.rows,
                cols: desc.cols,
                kernels: kernels
                    .columns(desc.format)
                    .filter(|_| sparse.contains(&product.x))?,
                copy: None,
                state: State::Rows,
                chosen: false,
                adding: AtomicUsize::new(0),
                seen: AtomicUsize::new(desc.cols),
            })
        });
        let matrices: Vec<Matrix> = matrices.collect();
        let most = matrices.iter().map(Matrix::of_column).max().unwrap_or(0);
        let mut sums = SharedSlice::default();
        sums.reserve(threads * most * LINE_ROWS);
        Columns { matrices, sums }
    }

    /// The matrix of an operation's only product, if it can be read by columns.
    pub(crate) fn find(&self, weight: WeightId) -> Option<&Matrix> {
        self.matrices.iter().find(|matrix| matrix.weight == weight)
    }

    /// Chooses the copies that a pass over `ops` with `tokens` tokens reads and makes.
    pub(crate) fn begin(&mut self, ops: &Range<usize>, tokens: usize) {
        let mut left = if tokens == 1 { AT_ONCE } else { 0 };
        for matrix in &mut self.matrices {
            if matrix.state == State::Making {
                // The pass that was to make it did not end.
                matrix.state = State::Rows;
            }
            *matrix.adding.get_mut() = 0;
            matrix.chosen = tokens == 1 && matrix.state == State::Ready && matrix.pays();
            let wanted = matrix.state == State::Rows && matrix.pays();
            if left == 0 || !wanted || !ops.contains(&matrix.op) {
                continue;
            }
            left -= 1;
            if matrix.copy.is_none() {
                matrix.copy = Pages::new(matrix.of_column() * matrix.cols).ok();
            }
            matrix.state = match matrix.copy {
                Some(_) => State::Making,
                None => State::Refused,
            };
        }
    }

    /// Notes what the pass made, and gives back the memory of its rows.
    pub(crate) fn finish(&mut self, weights: &Weights) {
        let made = self.matrices.iter_mut();
        for matrix in made.filter(|matrix| matrix.state == State::Making) {
            matrix.state = State::Ready;
            weights.release(matrix.weight, 0..matrix.rows);
        }
    }
}

impl Matrix {
    /// Lines of a column.
    pub(super) fn of_column(&self) -> usize {
        self.rows.div_ceil(LINE_ROWS)
    }

    /// Whether reading as many columns as the last pass of one token needed pays.
    fn pays(&self) -> bool {
        self.seen.load(Ordering::Relaxed) as f64 <= MOST * self.cols as f64
    }

    /// The kernel's name, if the pass under way, or else the last one, reads columns.
    pub(crate) fn kernel_name(&self) -> Option<&'static str> {
        self.chosen.then_some(self.kernels.name)
    }

    /// The copy, if the pass under way reads columns of it.
    pub(super) fn chosen(&self) -> Option<&Pages<Line>> {
        self.copy.as_ref().filter(|_| self.chosen)
    }

    /// Rows in a piece of a product with the rows, where the pass makes a copy of each piece.
    pub(super) fn making(&self) -> Option<usize> {
        (self.state == State::Making).then_some(LINE_ROWS)
    }
}

#[cfg(test)]
mod tests {
    use bitnet_fixtures::Transformer;
    use bitnet_kernels::format::Format;
    use bitnet_kernels::{Batch, Forward, Output, Segment, Telemetry, Want};

    use super::*;
    use crate::backend::{CpuBackend, CpuOptions};
    use crate::isa::Isa;

    const TOKENS: [u32; 9] = [3, 69, 12, 0, 1, 44, 45, 3, 7];

    /// Two lines of rows, of which one is not full.
    const MODEL: Transformer = Transformer {
        layers: 3,
        hidden: 384,
        ffn: 640,
        heads: 3,
        kv_heads: 1,
        head_dim: 128,
        vocabulary: 70,
        embedding: Format::F32,
        ..Transformer::TINY
    };

    /// The logits of every token, read in passes of so many, and the backend.
    fn logits(model: Transformer, isa: Isa, threads: usize, pass: usize) -> (Vec<u32>, CpuBackend) {
        let (program, weights) = model.program();
        let options = CpuOptions {
            threads: Some(threads),
            isa: Some(isa),
            ..CpuOptions::default()
        };
        let mut backend = CpuBackend::load(program, weights, options).expect("it loads");
        let cache = backend.create_cache(TOKENS.len()).expect("a cache");
        let mut bits = Vec::new();
        for (i, tokens) in TOKENS.chunks(pass).enumerate() {
            let selected: Vec<u32> = (0..tokens.len() as u32).collect();
            let batch = Batch {
                tokens,
                segments: &[Segment {
                    cache,
                    start: i * pass,
                    len: tokens.len(),
                }],
                selected: &selected,
            };
            let mut out = Output::default();
            backend
                .forward(&batch, Want::Logits, &mut out)
                .expect("it runs");
            bits.extend(out.logits.iter().map(|logit| logit.to_bits()));
        }
        (bits, backend)
    }

    fn noted(backend: &mut CpuBackend, part: &str) -> u64 {
        let counts = backend.recorder().counts();
        counts
            .filter(|(name, _)| name.contains(part))
            .map(|(_, count)| count)
            .sum()
    }

    #[test]
    fn tokens_one_by_one_give_the_bits_of_a_batch_and_columns_are_read() {
        let (wanted, mut dense) = logits(MODEL, Isa::Scalar, 1, TOKENS.len());
        assert_eq!(dense.skipped_bytes(), 0);
        assert_eq!(noted(&mut dense, "columns"), 0);
        let two = Isa::available().into_iter().map(|isa| (isa, 2));
        for (isa, threads) in two.chain([(Isa::best(), 1), (Isa::best(), 5)]) {
            let (found, mut backend) = logits(MODEL, isa, threads, 1);
            assert!(found == wanted, "{isa}, {threads} threads");
            // In the first pass it is seen that copies pay, the two behind it make them.
            let passes = (TOKENS.len() - 3) * MODEL.layers;
            let read = noted(&mut backend, "columns");
            assert!(read as usize >= passes, "{read} of {passes}");
            assert!(backend.skipped_bytes() > 0);
        }
    }

    #[test]
    fn rows_are_read_where_nothing_is_sparse_or_there_is_no_kernel() {
        let silu = Transformer {
            activation: Activation::Silu,
            ..MODEL
        };
        let (wanted, _) = logits(silu, Isa::Scalar, 1, TOKENS.len());
        let (found, mut backend) = logits(silu, Isa::best(), 2, 1);
        assert!(found == wanted);
        assert_eq!(noted(&mut backend, "columns"), 0);
        let tq2_0 = Transformer {
            linear: Format::TQ2_0,
            hidden: 256,
            ffn: 512,
            heads: 2,
            ..MODEL
        };
        let (_, mut backend) = logits(tq2_0, Isa::best(), 1, 1);
        assert_eq!(noted(&mut backend, "columns"), 0);
        assert_eq!(backend.skipped_bytes(), 0);
    }
}
