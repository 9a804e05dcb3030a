//! Products of columns in 256-bit registers.

#![expect(
    clippy::needless_range_loop,
    reason = "loops over indices are unrolled before sums are given registers"
)]

use std::arch::x86_64::*;

use super::super::listed::{columns_from, listed};
use super::token::Avx2;
use crate::microkernel::columns::{Column, ColumnDot, LINE_BYTES, LINE_ROWS, Line, Lines};
use crate::microkernel::simd::Simd;

/// Columns that are added before 16-bit sums are widened.
const AT_ONCE: usize = 16;

/// Bytes of a register.
const REGISTER: usize = size_of::<__m256i>();

/// Some columns: the lines of two that are multiplied side by side, and their activations.
type Pairs<'a> = [([&'a [Line]; 2], __m256i); AT_ONCE / 2];

impl<const VNNI: bool> Avx2<VNNI> {
    /// Adds the products of some columns with the bytes from `first` on of their lines `i`.
    #[inline(always)]
    fn add_half_line(
        self,
        columns: &Pairs<'_>,
        (i, first): (usize, usize),
        later: &[&[Line]],
        sums: &mut [i32; LINE_ROWS],
    ) {
        // SAFETY: `self` proves AVX2; a load covers half a line, which is aligned, and the others
        // and the stores their arrays.
        unsafe {
            // Two products are at most 2 * 3 * 128 in magnitude, and eight of these are added up.
            let mut pairs = [[_mm256_setzero_si256(); 4]; 2];
            let mask = _mm256_set1_epi8(3);
            for (step, (two, q)) in columns.iter().enumerate() {
                if let Some(column) = later.get(2 * step + first / REGISTER) {
                    self.prefetch(column, i * LINE_BYTES);
                }
                let [a, b] = two.map(|column| {
                    let bytes = column[i].0[first..first + REGISTER].as_ptr();
                    _mm256_load_si256(bytes.cast())
                });
                let mut codes = [_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)];
                for place in 0..4 {
                    for part in 0..2 {
                        let code = _mm256_and_si256(codes[part], mask);
                        let products = _mm256_maddubs_epi16(code, *q);
                        pairs[part][place] = _mm256_add_epi16(pairs[part][place], products);
                        codes[part] = _mm256_srli_epi16::<2>(codes[part]);
                    }
                }
            }
            for (part, pairs) in pairs.into_iter().enumerate() {
                for (place, pairs) in pairs.into_iter().enumerate() {
                    // Four rows of two parts of a line's quarter in each half of the register: the
                    // same part side by side, which makes eight adjacent rows.
                    let pairs = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                    let halves = [
                        _mm256_castsi256_si128(pairs),
                        _mm256_extracti128_si256::<1>(pairs),
                    ];
                    for (half, eight) in halves.into_iter().enumerate() {
                        let at = place * LINE_BYTES + (2 * part + half) * 16 + first / 4;
                        let rows = sums[at..at + 8].as_mut_ptr();
                        let sums = _mm256_loadu_si256(rows.cast_const().cast());
                        let sums = _mm256_add_epi32(sums, _mm256_cvtepi16_epi32(eight));
                        _mm256_storeu_si256(rows.cast(), sums);
                    }
                }
            }
        }
    }
}

impl<const VNNI: bool> ColumnDot for Avx2<VNNI> {
    #[inline(always)]
    fn add_columns(self, m: Lines<'_>, list: &[Column], sums: &mut [[i32; LINE_ROWS]]) {
        let (first, count) = columns_from::<AT_ONCE>(m, list, 0);
        for line in first[..count].iter().copied().flatten() {
            self.prefetch(&line.0, 0);
        }
        for first in (0..list.len()).step_by(AT_ONCE) {
            // SAFETY: `self` proves AVX2.
            let mut columns: Pairs<'_> =
                [([&m.lines[..0]; 2], unsafe { _mm256_setzero_si256() }); AT_ONCE / 2];
            for (i, pair) in columns.iter_mut().enumerate() {
                let two = [0, 1].map(|part| listed(list, first + 2 * i + part));
                let bytes = two.map(|column| column.q.cast_unsigned());
                // SAFETY: `self` proves AVX2.
                let q = unsafe { _mm256_set1_epi16(i16::from_le_bytes(bytes)) };
                *pair = (two.map(|column| m.column(column)), q);
            }
            let (later, coming) = columns_from::<AT_ONCE>(m, list, first + AT_ONCE);
            let later = &later[..coming];
            for (i, sums) in sums.iter_mut().enumerate() {
                for half in [0, REGISTER] {
                    self.add_half_line(&columns, (i, half), later, sums);
                }
            }
        }
    }
}
