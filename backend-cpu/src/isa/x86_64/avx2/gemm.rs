//! The microkernel of the gemm in 256-bit registers: `vpdpbusd` where there is AVX-VNNI,
//! `vpmaddubsw` elsewhere.

use std::arch::x86_64::*;

use bitnet_kernels::order::LANES;

use super::token::Avx2;
use crate::generic::gemm;
use crate::microkernel::gemm::{
    GROUP_BYTES, Microkernel, PackedGroup, PackedWord, TernaryLayout, TileArgs,
};

impl<const VNNI: bool> Microkernel for Avx2<VNNI> {
    type Bytes = [__m256i; 2];
    type Broadcast = __m256i;
    type Acc = [__m256i; 2];
    type GroupAcc = [__m256i; 2];

    const STRIPS: usize = 1;
    const NR: usize = 4;

    #[inline(always)]
    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>) {
        gemm::tile::<Self, F, 1, 4>(self, args);
    }

    #[inline(always)]
    fn transpose(self, rows: [&[u8; GROUP_BYTES]; LANES], words: &mut PackedGroup) {
        for (quarter, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let words = words
                .each_mut()
                .map(|word| (&raw mut *word).cast::<__m256i>());
            for half in 0..2 {
                // SAFETY: `self` proves AVX2; each load lies within a half of its row, each store
                // within its word.
                unsafe {
                    let piece =
                        |row: usize| _mm_loadu_si128(rows[row].as_ptr().add(quarter * 16).cast());
                    let pieces =
                        |i: usize| _mm256_set_m128i(piece(half * 8 + i + 4), piece(half * 8 + i));
                    let (a, b, c, d) = (pieces(0), pieces(1), pieces(2), pieces(3));
                    let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
                    let [first, second, third, fourth] = words.map(|word| word.add(half));
                    _mm256_store_si256(first, _mm256_unpacklo_epi64(ab, cd));
                    _mm256_store_si256(second, _mm256_unpackhi_epi64(ab, cd));
                    let (ab, cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
                    _mm256_store_si256(third, _mm256_unpacklo_epi64(ab, cd));
                    _mm256_store_si256(fourth, _mm256_unpackhi_epi64(ab, cd));
                }
            }
        }
    }
    #[inline(always)]
    fn load_bytes(self, word: &PackedWord) -> Self::Bytes {
        let at = (&raw const *word).cast::<__m256i>();
        // SAFETY: `self` proves AVX2; both loads lie within the word.
        unsafe { [_mm256_load_si256(at), _mm256_load_si256(at.add(1))] }
    }
    #[inline(always)]
    fn low_codes(self, bytes: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let mask = _mm256_set1_epi8(3);
            [
                _mm256_and_si256(bytes[0], mask),
                _mm256_and_si256(bytes[1], mask),
            ]
        }
    }
    #[inline(always)]
    fn shift_codes(self, bytes: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX2.
        unsafe {
            [
                _mm256_srli_epi16::<2>(bytes[0]),
                _mm256_srli_epi16::<2>(bytes[1]),
            ]
        }
    }
    #[inline(always)]
    fn broadcast(self, q: &[i8; 4]) -> Self::Broadcast {
        // SAFETY: `self` proves AVX2.
        unsafe { _mm256_set1_epi32(i32::from_ne_bytes(q.map(i8::cast_unsigned))) }
    }
    #[inline(always)]
    fn splat_i32(self, x: i32) -> Self::Acc {
        // SAFETY: `self` proves AVX2.
        unsafe { [_mm256_set1_epi32(x); 2] }
    }
    #[inline(always)]
    fn begin_group(self, [low, high]: Self::Acc) -> Self::GroupAcc {
        [self.begin_partial(low), self.begin_partial(high)]
    }
    #[inline(always)]
    fn multiply_add(
        self,
        [low, high]: Self::GroupAcc,
        codes: Self::Bytes,
        q: Self::Broadcast,
    ) -> Self::GroupAcc {
        [self.step(low, codes[0], q), self.step(high, codes[1], q)]
    }
    #[inline(always)]
    fn end_group(self, acc: Self::Acc, group: Self::GroupAcc) -> Self::Acc {
        [
            self.end_partial(acc[0], group[0]),
            self.end_partial(acc[1], group[1]),
        ]
    }
    #[inline(always)]
    fn to_f32(self, acc: Self::Acc) -> Self::F {
        // SAFETY: `self` proves AVX2.
        unsafe { [_mm256_cvtepi32_ps(acc[0]), _mm256_cvtepi32_ps(acc[1])] }
    }
}
