//! The microkernel of the gemm in 256-bit registers: `vpdpbusd` where there is AVX-VNNI,
//! `vpmaddubsw` elsewhere.

use std::arch::x86_64::*;

use bitnet_kernels::order::LANES;

use super::super::reorder::reorder;
use super::token::Avx2;
use crate::generic::{coded, gemm};
use crate::microkernel::coded::{CodeLayout, Order, PIECE, RUN_WORDS};
use crate::microkernel::gemm::{GemmArgs, Microkernel, PackedWord, TernaryLayout, TileArgs};
use crate::microkernel::runs::RUN_BYTES;

impl<const VNNI: bool> Avx2<VNNI> {
    /// Words of half a strip.
    #[inline(always)]
    fn transpose_half(self, rows: &[&[u8; RUN_BYTES]; LANES / 2]) -> [__m256i; RUN_WORDS] {
        // SAFETY: `self` proves AVX2; each load covers a row's bytes.
        unsafe {
            let mut pieces = [_mm256_setzero_si256(); LANES / 4];
            for (i, piece) in pieces.iter_mut().enumerate() {
                let low = _mm_loadu_si128(rows[i].as_ptr().cast());
                let high = _mm_loadu_si128(rows[i + LANES / 4].as_ptr().cast());
                *piece = _mm256_set_m128i(high, low);
            }
            let [a, b, c, d] = pieces;
            let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
            let (first, second) = (_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
            let (ab, cd) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
            let (third, fourth) = (_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
            [first, second, third, fourth]
        }
    }
}

impl<const VNNI: bool> Microkernel for Avx2<VNNI> {
    type Bytes = [__m256i; 2];
    type Broadcast = __m256i;
    type Acc = [__m256i; 2];
    type GroupAcc = [__m256i; 2];

    const STRIPS: usize = 1;
    const NR: usize = 4;
    const PIECE_PANELS: usize = if VNNI { 1 } else { 18 };

    #[inline(always)]
    fn tile<F: TernaryLayout>(self, args: TileArgs<'_>) {
        gemm::tile::<Self, F, 1, 4>(self, args);
    }

    #[inline(always)]
    fn whole_gemm<'a, F: TernaryLayout>(
        self,
        args: GemmArgs<'a>,
        scratch: &mut Vec<PackedWord>,
    ) -> Option<GemmArgs<'a>> {
        if VNNI {
            return Some(args);
        }
        self.gemm_by_tables::<F>(args, scratch)
    }

    const CODED_STRIPS: usize = 1;
    const CODED_TOKENS: usize = 4;

    #[inline(always)]
    fn coded_tile<F: CodeLayout<BITS>, const BITS: usize>(self, args: TileArgs<'_>) {
        coded::tile::<Self, F, BITS, 1, 4>(self, args);
    }

    #[inline(always)]
    fn reorder(self, from: &[i8; PIECE], order: &Order, to: &mut [i8; PIECE]) {
        // SAFETY: `self` proves AVX2.
        unsafe { reorder(from, order, to) }
    }

    #[inline(always)]
    fn transpose(self, rows: [&[u8; RUN_BYTES]; LANES]) -> [Self::Bytes; RUN_WORDS] {
        let halves = rows.as_chunks().0;
        let [a, b, c, d] = self.transpose_half(&halves[0]);
        let [e, f, g, h] = self.transpose_half(&halves[1]);
        [[a, e], [b, f], [c, g], [d, h]]
    }
    #[inline(always)]
    fn load_bytes(self, word: &PackedWord) -> Self::Bytes {
        let at = (&raw const *word).cast::<__m256i>();
        // SAFETY: `self` proves AVX2; both loads lie within the word.
        unsafe { [_mm256_load_si256(at), _mm256_load_si256(at.add(1))] }
    }
    #[inline(always)]
    fn store_bytes(self, bytes: Self::Bytes, word: &mut PackedWord) {
        let at = (&raw mut *word).cast::<__m256i>();
        // SAFETY: `self` proves AVX2; both stores lie within the word.
        unsafe {
            _mm256_store_si256(at, bytes[0]);
            _mm256_store_si256(at.add(1), bytes[1]);
        }
    }
    #[inline(always)]
    fn low_codes<const BITS: usize>(self, bytes: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let mask = _mm256_set1_epi8((1 << BITS) - 1);
            [
                _mm256_and_si256(bytes[0], mask),
                _mm256_and_si256(bytes[1], mask),
            ]
        }
    }
    #[inline(always)]
    fn shift_codes<const BITS: usize>(self, [low, high]: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX2.
        unsafe {
            match BITS {
                1 => [_mm256_srli_epi16::<1>(low), _mm256_srli_epi16::<1>(high)],
                2 => [_mm256_srli_epi16::<2>(low), _mm256_srli_epi16::<2>(high)],
                _ => [_mm256_srli_epi16::<4>(low), _mm256_srli_epi16::<4>(high)],
            }
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
