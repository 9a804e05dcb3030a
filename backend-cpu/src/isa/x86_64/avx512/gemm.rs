//! The microkernel of the gemm in AVX-512: `vpdpbusd` on sixteen rows.

use std::arch::x86_64::*;

use bitnet_kernels::order::LANES;

use super::super::reorder::reorder;
use super::token::Avx512;
use crate::generic::{coded, gemm};
use crate::microkernel::coded::{CodeLayout, Order, PIECE, RUN_WORDS};
use crate::microkernel::gemm::{GemmArgs, Microkernel, PackedWord, TernaryLayout, TileArgs};
use crate::microkernel::runs::RUN_BYTES;

impl<const VBMI: bool, const AMX: bool> Microkernel for Avx512<VBMI, AMX> {
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
    fn whole_gemm<'a, F: TernaryLayout>(
        self,
        args: GemmArgs<'a>,
        scratch: &mut Vec<PackedWord>,
    ) -> Option<GemmArgs<'a>> {
        if !AMX {
            return Some(args);
        }
        self.gemm_with_amx::<F>(args, scratch);
        None
    }

    #[inline(always)]
    fn few_in_tiles<'a>(
        self,
        args: GemmArgs<'a>,
        scratch: &mut Vec<PackedWord>,
    ) -> Option<GemmArgs<'a>> {
        self.few_with_amx(args, scratch)
    }

    const CODED_STRIPS: usize = 2;
    const CODED_TOKENS: usize = 6;

    #[inline(always)]
    fn coded_tile<F: CodeLayout<BITS>, const BITS: usize>(self, args: TileArgs<'_>) {
        coded::tile::<Self, F, BITS, 2, 6>(self, args);
    }

    #[inline(always)]
    fn reorder(self, from: &[i8; PIECE], order: &Order, to: &mut [i8; PIECE]) {
        // SAFETY: `self` proves AVX2.
        unsafe { reorder(from, order, to) }
    }

    #[inline(always)]
    fn transpose(self, rows: [&[u8; RUN_BYTES]; LANES]) -> [Self::Bytes; RUN_WORDS] {
        // SAFETY: `self` proves AVX-512; each load covers a row's bytes.
        unsafe {
            let piece = |row: usize| _mm_loadu_si128(rows[row].as_ptr().cast());
            let pieces = |i: usize| {
                let low = _mm256_set_m128i(piece(i + 4), piece(i));
                let high = _mm256_set_m128i(piece(i + 12), piece(i + 8));
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
            };
            let (a, b, c, d) = (pieces(0), pieces(1), pieces(2), pieces(3));
            let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
            let (first, second) = (_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
            let (ab, cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
            let (third, fourth) = (_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
            [first, second, third, fourth]
        }
    }
    #[inline(always)]
    fn load_bytes(self, word: &PackedWord) -> Self::Bytes {
        // SAFETY: `self` proves AVX-512; the load covers the word.
        unsafe { _mm512_load_si512((&raw const *word).cast()) }
    }
    #[inline(always)]
    fn store_bytes(self, bytes: Self::Bytes, word: &mut PackedWord) {
        // SAFETY: `self` proves AVX-512; the store covers the word.
        unsafe { _mm512_store_si512((&raw mut *word).cast(), bytes) }
    }
    #[inline(always)]
    fn low_codes<const BITS: usize>(self, bytes: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_and_si512(bytes, _mm512_set1_epi8((1 << BITS) - 1)) }
    }
    #[inline(always)]
    fn shift_codes<const BITS: usize>(self, bytes: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            match BITS {
                1 => _mm512_srli_epi16::<1>(bytes),
                2 => _mm512_srli_epi16::<2>(bytes),
                _ => _mm512_srli_epi16::<4>(bytes),
            }
        }
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
