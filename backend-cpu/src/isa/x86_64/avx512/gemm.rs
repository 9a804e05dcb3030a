//! The microkernel of the gemm in AVX-512: `vpdpbusd` on sixteen rows.

use std::arch::x86_64::*;

use bitnet_kernels::order::LANES;

use super::token::Avx512;
use crate::generic::gemm;
use crate::microkernel::gemm::{
    GROUP_BYTES, Microkernel, PackedGroup, PackedWord, TernaryLayout, TileArgs,
};

impl<const VBMI: bool> Microkernel for Avx512<VBMI> {
    type Bytes = __m512i;
    type Broadcast = __m512i;
    type Acc = __m512i;
    type GroupAcc = __m512i;

    const STRIPS: usize = 4;
    const NR: usize = 5;

    #[inline(always)]
    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>) {
        gemm::tile::<Self, F, 4, 5>(self, args);
    }

    #[inline(always)]
    fn transpose(self, rows: [&[u8; GROUP_BYTES]; LANES], words: &mut PackedGroup) {
        for (half, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            // SAFETY: `self` proves AVX-512; each load lies within a half of its row, each store
            // covers its word.
            unsafe {
                let piece = |row: usize| _mm_loadu_si128(rows[row].as_ptr().add(half * 16).cast());
                let pieces = |i: usize| {
                    let low = _mm256_set_m128i(piece(i + 4), piece(i));
                    let high = _mm256_set_m128i(piece(i + 12), piece(i + 8));
                    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
                };
                let (a, b, c, d) = (pieces(0), pieces(1), pieces(2), pieces(3));
                let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
                let [first, second, third, fourth] = words.each_mut().map(|word| &raw mut *word);
                _mm512_store_si512(first.cast(), _mm512_unpacklo_epi64(ab, cd));
                _mm512_store_si512(second.cast(), _mm512_unpackhi_epi64(ab, cd));
                let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
                _mm512_store_si512(third.cast(), _mm512_unpacklo_epi64(ab, cd));
                _mm512_store_si512(fourth.cast(), _mm512_unpackhi_epi64(ab, cd));
            }
        }
    }
    #[inline(always)]
    fn load_bytes(self, word: &PackedWord) -> Self::Bytes {
        // SAFETY: `self` proves AVX-512; the load covers the word.
        unsafe { _mm512_load_si512((&raw const *word).cast()) }
    }
    #[inline(always)]
    fn low_codes(self, bytes: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_and_si512(bytes, _mm512_set1_epi8(3)) }
    }
    #[inline(always)]
    fn shift_codes(self, bytes: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_srli_epi16::<2>(bytes) }
    }
    #[inline(always)]
    fn broadcast(self, q: &[i8; 4]) -> Self::Broadcast {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_epi32(i32::from_ne_bytes(q.map(i8::cast_unsigned))) }
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::Acc {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    fn begin_group(self, acc: Self::Acc) -> Self::GroupAcc {
        acc
    }
    #[inline(always)]
    fn multiply_add(
        self,
        acc: Self::GroupAcc,
        codes: Self::Bytes,
        q: Self::Broadcast,
    ) -> Self::GroupAcc {
        // SAFETY: `self` proves AVX-512 with VNNI.
        unsafe { _mm512_dpbusd_epi32(acc, codes, q) }
    }
    #[inline(always)]
    fn end_group(self, _acc: Self::Acc, group: Self::GroupAcc) -> Self::Acc {
        group
    }
    #[inline(always)]
    fn to_f32(self, acc: Self::Acc) -> Self::F {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_cvtepi32_ps(acc) }
    }
}
