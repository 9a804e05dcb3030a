//! `TQ1_0` by table: VBMI looks up any function of a byte, so that trits need no arithmetic.

use std::arch::x86_64::*;

use bitnet_kernels::format::tq1_0;

use super::token::Avx512;
use crate::microkernel::trits::{self, BlockCodes};

/// A function of a byte, in the registers it is looked up in.
#[repr(C, align(64))]
struct Table([u8; 256]);

/// The first four trits of a byte, the first in the lowest bits.
static FIRST_FOUR: Table = Table(tabulated(0));
/// Its fifth.
static FIFTH: Table = Table(tabulated(1));

/// One of the two results of [`trits::trits`] for every byte.
const fn tabulated(which: usize) -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (four, fifth) = trits::trits(byte as u8);
        table[byte] = [four, fifth][which];
        byte += 1;
    }
    table
}

/// The low halves of three permutations that make the last 32 bytes; see
/// [`Avx512::repack_by_table`].
struct Order {
    /// Of the first four trits: the first half stays, then bytes 32 .. 48 twice.
    four: [u8; 64],
    /// Of the fifth trits: nothing, then bytes 0 .. 32.
    fifth: [u8; 64],
    /// Of the fifth trits and, from 64 on, the first four: nothing, then bytes 32 .. 48, then
    /// bytes 48 .. 52 four times.
    last: [u8; 64],
}

static ORDER: Order = {
    let mut order = Order {
        four: [0; 64],
        fifth: [0; 64],
        last: [0; 64],
    };
    let mut i = 0;
    while i < 32 {
        order.four[i] = i as u8;
        order.four[32 + i] = (32 + i % 16) as u8;
        order.fifth[32 + i] = i as u8;
        order.last[32 + i] = if i < 16 { 32 + i } else { 64 + 48 + i % 4 } as u8;
        i += 1;
    }
    order
};

impl<const VBMI: bool, const AMX: bool> Avx512<VBMI, AMX> {
    /// `table[byte]` for each byte.
    ///
    /// # Safety
    /// - The CPU has AVX-512 with VBMI.
    #[inline(always)]
    unsafe fn look_up(self, table: &Table, bytes: __m512i) -> __m512i {
        // SAFETY: the caller's promise; the loads lie within the table.
        unsafe {
            let at = table.0.as_ptr().cast::<__m512i>();
            let quarter = |i: usize| _mm512_load_si512(at.add(i));
            let low = _mm512_permutex2var_epi8(quarter(0), bytes, quarter(1));
            let high = _mm512_permutex2var_epi8(quarter(2), bytes, quarter(3));
            _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high)
        }
    }

    /// [`trits::repack`] with VBMI.
    #[inline(always)]
    pub(super) fn repack_by_table(self, block: &[u8; tq1_0::BLOCK_BYTES], codes: &mut BlockCodes) {
        assert!(VBMI);
        // SAFETY: `self` proves AVX-512, and VBMI as was just seen; masked loads touch the trits of
        // the block, the others and the store cover their arrays.
        unsafe {
            let load = |from: &[u8; 64]| _mm512_loadu_si512(from.as_ptr().cast());
            let bytes = _mm512_maskz_loadu_epi8((1 << tq1_0::SCALE_AT) - 1, block.as_ptr().cast());
            let four = self.look_up(&FIRST_FOUR, bytes);
            let fifth = self.look_up(&FIFTH, bytes);

            // Runs of 32: the first four are whole, then those of 16 bytes, two beside one another.
            let spread = _mm512_permutexvar_epi8(load(&ORDER.four), four);
            // A byte's mask for each of: the first 32, the next 16, the last 16.
            let masks = |first: u8, next: u8, last: u8| {
                let (first, next, last) = (
                    _mm_set1_epi8(first.cast_signed()),
                    _mm_set1_epi8(next.cast_signed()),
                    _mm_set1_epi8(last.cast_signed()),
                );
                let low = _mm512_castsi256_si512(_mm256_set_m128i(first, first));
                _mm512_inserti64x4::<1>(low, _mm256_set_m128i(last, next))
            };
            let kept = _mm512_and_si512(spread, masks(0xff, 0x30, 0x0c));
            let raised = _mm512_and_si512(_mm512_slli_epi16::<2>(spread), masks(0, 0x0c, 0));
            let lowered = _mm512_and_si512(_mm512_srli_epi16::<2>(spread), masks(0, 0, 0x30));
            let runs = _mm512_or_si512(kept, _mm512_or_si512(raised, lowered));

            // The fifth trits of the first 32 bytes lie lowest.
            let lowest = _mm512_maskz_permutexvar_epi8(!0 << 32, load(&ORDER.fifth), fifth);

            // Highest lie the fifth trits of 16 bytes, then one trit after the other of four bytes.
            let last = _mm512_permutex2var_epi8(fifth, load(&ORDER.last), four);
            let shifts = _mm512_set_epi32(6, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
            let last = _mm512_slli_epi16::<6>(_mm512_srlv_epi32(last, shifts));
            let highest = _mm512_and_si512(last, masks(0, 0xc0, 0xc0));

            let all = _mm512_or_si512(runs, _mm512_or_si512(lowest, highest));
            _mm512_storeu_si512(codes.as_mut_ptr().cast(), all);
        }
    }
}
