//! Prefetch into the nearest cache.

/// See [`Simd::prefetch`](crate::microkernel::simd::Simd::prefetch).
#[inline(always)]
pub(super) fn prefetch<T>(from: &[T], at: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: every x86-64 has SSE; a prefetch touches nothing, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().cast::<i8>().wrapping_add(at)) };
}
