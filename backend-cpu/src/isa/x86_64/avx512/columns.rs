//! Products of columns in AVX-512.

#![expect(
    clippy::needless_range_loop,
    reason = "loops over indices are unrolled before sums are given registers"
)]

use std::arch::x86_64::*;

use super::super::listed::{columns_from, listed};
use super::token::Avx512;
use crate::microkernel::columns::{Column, ColumnDot, LINE_BYTES, LINE_ROWS, Line, Lines};
use crate::microkernel::simd::Simd;

/// Columns of a lane of `vpdpbusd`.
const FOUR: usize = 4;

/// Columns that are added while the sums of a line of rows are in registers.
const AT_ONCE: usize = 4 * FOUR;

impl<const VBMI: bool, const AMX: bool> Avx512<VBMI, AMX> {
    /// The codes of a line of four columns side by side: lane `4 k + i` of part `p` has the four
    /// columns of byte `16 k + 4 p + i`, the rows of which follow one another.
    #[inline(always)]
    fn side_by_side(self, [a, b, c, d]: [&Line; FOUR]) -> [__m512i; 4] {
        // SAFETY: `self` proves AVX-512; the loads cover their lines, which are aligned.
        unsafe {
            let load = |line: &Line| _mm512_load_si512(line.0.as_ptr().cast());
            let [a, b, c, d] = [load(a), load(b), load(c), load(d)];
            let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
            let (ab_high, cd_high) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
            [
                _mm512_unpacklo_epi16(ab, cd),
                _mm512_unpackhi_epi16(ab, cd),
                _mm512_unpacklo_epi16(ab_high, cd_high),
                _mm512_unpackhi_epi16(ab_high, cd_high),
            ]
        }
    }

    /// Adds the products of some columns to the sums of each row, and prefetches others.
    #[inline(always)]
    fn add_some(
        self,
        columns: &[[&[Line]; FOUR]; AT_ONCE / FOUR],
        q: [__m512i; AT_ONCE / FOUR],
        later: &[&[Line]],
        sums: &mut [[i32; LINE_ROWS]],
    ) {
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: `self` proves AVX-512 with VNNI; stores cover their arrays.
            unsafe {
                // Codes are multiplied where they stand in their bytes: products are up to 64 times
                // too large, and fit all the same.
                let mut products = [[_mm512_setzero_si512(); 4]; 4];
                for (group, columns) in columns.iter().enumerate() {
                    for column in later.iter().skip(group * FOUR).take(FOUR) {
                        self.prefetch(column, i * LINE_BYTES);
                    }
                    let codes = self.side_by_side(columns.map(|column| &column[i]));
                    for part in 0..4 {
                        for place in 0..4 {
                            let mask = _mm512_set1_epi8((3_u8 << (2 * place)).cast_signed());
                            let codes = _mm512_and_si512(codes[part], mask);
                            products[part][place] =
                                _mm512_dpbusd_epi32(products[part][place], codes, q[group]);
                        }
                    }
                }
                for (part, products) in products.iter().enumerate() {
                    let products = [
                        products[0],
                        _mm512_srai_epi32::<2>(products[1]),
                        _mm512_srai_epi32::<4>(products[2]),
                        _mm512_srai_epi32::<6>(products[3]),
                    ];
                    for (place, products) in products.into_iter().enumerate() {
                        let rows = &mut sums[place * LINE_BYTES + part * 16..][..16];
                        let sums = _mm512_loadu_si512(rows.as_ptr().cast());
                        let sums = _mm512_add_epi32(sums, products);
                        _mm512_storeu_si512(rows.as_mut_ptr().cast(), sums);
                    }
                }
            }
        }
    }
}

impl<const VBMI: bool, const AMX: bool> ColumnDot for Avx512<VBMI, AMX> {
    #[inline(always)]
    fn add_columns(self, m: Lines<'_>, list: &[Column], sums: &mut [[i32; LINE_ROWS]]) {
        let (first, count) = columns_from::<AT_ONCE>(m, list, 0);
        for line in first[..count].iter().copied().flatten() {
            self.prefetch(&line.0, 0);
        }
        for first in (0..list.len()).step_by(AT_ONCE) {
            let mut columns = [[&m.lines[..0]; FOUR]; AT_ONCE / FOUR];
            // SAFETY: `self` proves AVX-512.
            let mut q = [unsafe { _mm512_setzero_si512() }; AT_ONCE / FOUR];
            for group in 0..AT_ONCE / FOUR {
                let four = [0, 1, 2, 3].map(|i| listed(list, first + group * FOUR + i));
                columns[group] = four.map(|column| m.column(column));
                let bytes = four.map(|column| column.q.cast_unsigned());
                // SAFETY: `self` proves AVX-512.
                q[group] = unsafe { _mm512_set1_epi32(i32::from_le_bytes(bytes)) };
            }
            let (later, coming) = columns_from::<AT_ONCE>(m, list, first + AT_ONCE);
            self.add_some(&columns, q, &later[..coming], sums);
        }
    }
}
