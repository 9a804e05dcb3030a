//! Prefetch into the nearest cache.

use crate::microkernel::screen::Block;
use crate::microkernel::simd::STREAM_DISTANCE;

/// See [`Simd::prefetch`](crate::microkernel::simd::Simd::prefetch).
#[inline(always)]
pub(super) fn prefetch<T>(from: &[T], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: every x86-64 has SSE; a prefetch touches nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().cast::<i8>().wrapping_add(at)) };
}

/// Prefetches a block's worth of memory for block `i` of a row.
#[inline(always)]
pub(super) fn prefetch_block(row: &[Block], i: usize) {
    for line in 0..size_of::<Block>() / 64 {
        prefetch(row, i * size_of::<Block>() + line * 64 + STREAM_DISTANCE);
    }
}
