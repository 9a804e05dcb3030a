//! Integer products of one block of weights with one block of activations.
//!
//! Exact, so an instruction set may compute them in any order it likes. The provided methods are
//! plain Rust; an instruction set overrides those it can do better.

use crate::microkernel::simd::Simd;
use crate::microkernel::tq1_0;

/// Rows that are multiplied at a time.
pub(crate) const ROWS: usize = 4;

/// Integer block products of an instruction set.
///
/// Ternary blocks are multiplied as codes 0, 1, 2; the caller takes the sum of the activations off.
pub(crate) trait BlockDot: Simd {
    /// Adjacent rows of `I2_S`: 32 bytes for each 128 activations. `row.len() == q.len() / 4`.
    #[inline(always)]
    fn i2s_rows<const R: usize>(self, rows: [&[u8]; R], q: &[i8]) -> [i32; R] {
        rows.map(|row| i2s_product(row, q))
    }

    /// The most tokens for which [`BlockDot::i2s_tile`] serves better than a gemm.
    const FEW_TOKENS: usize = 1;

    /// As [`BlockDot::i2s_rows`], against several tokens; rows and tokens have as many groups of 128.
    /// Meanwhile the memory is asked for the bytes `ahead`, of which there are at most 128 for
    /// each 128 activations.
    #[inline(always)]
    fn i2s_tile<const T: usize>(
        self,
        rows: [&[[u8; 32]]; ROWS],
        q: [&[[i8; 128]]; T],
        _ahead: &[u8],
    ) -> [[i32; ROWS]; T] {
        let rows = rows.map(|row| row.as_flattened());
        let mut sums = [[0; ROWS]; T];
        for (sums, q) in sums.iter_mut().zip(q) {
            *sums = self.i2s_rows(rows, q.as_flattened());
        }
        sums
    }

    /// The codes of blocks of `TQ2_0` of adjacent rows.
    #[inline(always)]
    fn tq2_0_rows<const R: usize>(self, qs: [&[u8; 64]; R], q: &[i8; 256]) -> [i32; R] {
        qs.map(|qs| tq2_0_product(qs, q))
    }

    /// BlockDot of `TQ1_0` of adjacent rows, their scales left out of account.
    #[inline(always)]
    fn tq1_0_rows<const R: usize>(self, blocks: [&[u8; 54]; R], q: &[i8; 256]) -> [i32; R] {
        blocks.map(|block| tq1_0_product(block, q))
    }

    /// A block of `TQ1_0` in the order of `TQ2_0`.
    #[inline(always)]
    fn repack(self, block: &[u8; 54], codes: &mut [u8; 64]) {
        tq1_0::repack(block, codes);
    }

    /// Eight sums of four adjacent products each.
    #[inline(always)]
    fn q8_0(self, weights: &[u8; 32], q: &[i8; 32]) -> [i32; 8] {
        let mut sums = [0; 8];
        for (i, (w, q)) in weights.iter().zip(q).enumerate() {
            sums[i / 4] += i32::from(w.cast_signed()) * i32::from(*q);
        }
        sums
    }

    /// A block of `Q6_K`, its 8-bit sub-scales applied, its scale left out of account.
    #[inline(always)]
    fn q6_k(self, block: &[u8; 210], q: &[i8; 256]) -> i32 {
        let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
        let mut sum = 0;
        for half in 0..2 {
            for quarter in 0..4 {
                for sub in 0..2 {
                    let mut part = 0;
                    for j in sub * 16..sub * 16 + 16 {
                        let nibbles = low[half * 64 + quarter % 2 * 32 + j];
                        let nibble = if quarter < 2 {
                            nibbles & 15
                        } else {
                            nibbles >> 4
                        };
                        let top = high[half * 32 + j] >> (2 * quarter) & 3;
                        let weight = i32::from(nibble | top << 4) - 32;
                        part += weight * i32::from(q[half * 128 + quarter * 32 + j]);
                    }
                    sum += i32::from(scales[half * 8 + quarter * 2 + sub].cast_signed()) * part;
                }
            }
        }
        sum
    }
}

#[inline(always)]
fn i2s_product(row: &[u8], q: &[i8]) -> i32 {
    let mut sum = 0;
    for (bytes, q) in row.as_chunks::<32>().0.iter().zip(q.as_chunks::<128>().0) {
        for (j, byte) in bytes.iter().enumerate() {
            for group in 0..4 {
                let code = i32::from(byte >> (6 - 2 * group) & 3);
                sum += code * i32::from(q[group * 32 + j]);
            }
        }
    }
    sum
}

#[inline(always)]
fn tq2_0_product(qs: &[u8; 64], q: &[i8; 256]) -> i32 {
    let mut sum = 0;
    for (j, byte) in qs.iter().enumerate() {
        for group in 0..4 {
            let code = i32::from(byte >> (2 * group) & 3);
            sum += code * i32::from(q[j / 32 * 128 + group * 32 + j % 32]);
        }
    }
    sum
}

#[inline(always)]
fn tq1_0_product(block: &[u8; 54], q: &[i8; 256]) -> i32 {
    let trit = |byte: u8, n: usize| {
        let shifted = byte.wrapping_mul([1, 3, 9, 27, 81][n]);
        i32::from(((u16::from(shifted) * 3) >> 8) as u8)
    };
    let mut sum = 0;
    for n in 0..5 {
        for m in 0..32 {
            sum += trit(block[m], n) * i32::from(q[n * 32 + m]);
        }
        for m in 0..16 {
            sum += trit(block[32 + m], n) * i32::from(q[160 + n * 16 + m]);
        }
    }
    for n in 0..4 {
        for j in 0..4 {
            sum += trit(block[48 + j], n) * i32::from(q[240 + n * 4 + j]);
        }
    }
    sum
}
