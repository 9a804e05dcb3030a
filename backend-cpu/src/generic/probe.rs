//! Reading, and nothing else.

use bitnet_kernels::order::LANES;

use super::float::{F32, Weights};
use crate::microkernel::dot::BlockDot;
use crate::microkernel::simd::PREFETCH_DISTANCE;

/// Bytes of a step.
const STEP: usize = 256;

/// Reads `bytes` through, the last few perhaps not, as numbers that are added up.
#[inline(always)]
pub(crate) fn read<B: BlockDot>(b: B, bytes: &[u8]) -> f32 {
    let mut sums = [b.splat(0.0); STEP / (4 * LANES)];
    for step in bytes.as_chunks::<STEP>().0 {
        for (line, sum) in step.as_chunks::<{ 4 * LANES }>().0.iter().zip(&mut sums) {
            b.prefetch(line, PREFETCH_DISTANCE);
            *sum = b.add(*sum, F32::load(b, line));
        }
    }
    let [p, q, r, s] = sums.map(|sum| b.to_array(sum)[0]);
    p + q + r + s
}
