//! Activations in another order, for every instruction set that has AVX2.

use std::arch::x86_64::*;

use crate::microkernel::coded::{Order, PIECE};

/// `to[i] = from[order[i]]`.
///
/// # Safety
/// - The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn reorder(from: &[i8; PIECE], order: &Order, to: &mut [i8; PIECE]) {
    // SAFETY: the caller's promise; the loads and the store cover their arrays.
    unsafe {
        let from = _mm256_loadu_si256(from.as_ptr().cast());
        let order = _mm256_loadu_si256(order.as_ptr().cast());
        // Bytes are looked up within halves of a register: both in both halves.
        let low = _mm256_shuffle_epi8(_mm256_permute2x128_si256::<0x00>(from, from), order);
        let high = _mm256_shuffle_epi8(_mm256_permute2x128_si256::<0x11>(from, from), order);
        // Bit 4 of a place says which half it is in; here it is brought to the top.
        let upper = _mm256_slli_epi16::<3>(order);
        _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_blendv_epi8(low, high, upper));
    }
}
