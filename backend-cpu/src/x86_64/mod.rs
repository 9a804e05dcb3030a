//! x86-64 instruction sets, one file each.

pub(crate) mod avx2;
mod avx2_blocks;
mod avx2_quads;
mod avx2_screen;
pub(crate) mod avx512;
mod avx512_blocks;
mod avx512_quads;
mod avx512_screen;
mod avx512_vbmi;
mod heads;
mod peak;

use crate::lanes::AHEAD;
use crate::screens::Block;

/// See [`Lanes::prefetch`](crate::lanes::Lanes::prefetch).
#[inline(always)]
fn prefetch<T>(from: &[T], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: every x86-64 has SSE; a prefetch touches nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().cast::<i8>().wrapping_add(at)) };
}

/// Asks for a block's worth of memory ahead of block `i` of a row.
#[inline(always)]
fn prefetch_block(row: &[Block], i: usize) {
    for line in 0..size_of::<Block>() / 64 {
        prefetch(row, i * size_of::<Block>() + line * 64 + AHEAD);
    }
}
