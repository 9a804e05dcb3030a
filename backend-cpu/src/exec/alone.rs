//! Operations by themselves, for tests.

use bitnet_kernels::program::BufferId;
use bitnet_kernels::{Batch, Forward, Inspect, Program, Segment, SharedWeights};

use crate::backend::{CpuBackend, CpuOptions};
use crate::isa::Isa;

/// A backend that has run all operations of a program on `tokens` tokens of a new sequence, from
/// what is written to buffers of floats.
pub(super) fn ran(
    program: Program,
    weights: SharedWeights,
    (isa, threads): (Isa, usize),
    tokens: usize,
    inputs: &[(BufferId, &[f32])],
) -> CpuBackend {
    let ops = 0..program.ops.len();
    let options = CpuOptions {
        threads: Some(threads),
        isa: Some(isa),
        ..CpuOptions::default()
    };
    let mut backend =
        CpuBackend::with_cores(program, weights, options, threads).expect("the program loads");
    let cache = backend.create_cache(tokens).expect("a cache");
    for (buffer, values) in inputs {
        backend.write(*buffer, values).expect("a buffer of floats");
    }
    let batch = Batch {
        tokens: &vec![0; tokens],
        segments: &[Segment {
            cache,
            start: 0,
            len: tokens,
        }],
        selected: &[],
    };
    backend.run(&batch, ops).expect("the operations run");
    backend
}
