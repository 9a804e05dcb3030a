//! Integer dot products of one block of weights, or a few rows of them, with one block of
//! activations.
//!
//! Exact, so an instruction set may compute them in any order it likes. The provided methods are
//! plain Rust; an instruction set overrides those it can do better. A format without a method here
//! is multiplied by `generic::blocks::any`.

use bitnet_kernels::format::k_groups::{GROUP, GROUPS, Groups};
use bitnet_kernels::format::{Q8_0_BLOCK, Q8K_BLOCK, i2_s, ptq1_0, q4_k, q5_k, q6_k, q8_0, tq1_0};

use crate::microkernel::runs::Runs;
use crate::microkernel::simd::{STREAM_DISTANCE, Simd};
use crate::microkernel::trits::{self, BlockCodes};

/// Adjacent rows that are multiplied at a time.
pub(crate) const DOT_ROWS: usize = 4;

/// The sums of the activations of each group of 32 of a block.
pub(crate) type GroupSums = [i16; GROUPS];

/// Integer dot products of a block of adjacent rows whose groups have scales and minima, both of
/// which are applied.
pub(crate) struct WithMinima {
    /// Codes times their group's scale, with the activations.
    pub(crate) values: [i32; DOT_ROWS],
    /// Minima with the sums of the activations.
    pub(crate) minima: [i32; DOT_ROWS],
}

/// What is read after a row: memory that begins `distance` bytes behind the start of `from`, which
/// may lie behind its end.
#[derive(Clone, Copy)]
pub(crate) struct Ahead<'a, T = u8> {
    pub(crate) from: &'a [T],
    pub(crate) distance: usize,
}

impl<'a, T> Ahead<'a, T> {
    /// Of a row in a stream that is read from end to end.
    #[inline(always)]
    pub(crate) fn of(row: &'a [T]) -> Ahead<'a, T> {
        Ahead {
            from: row,
            distance: STREAM_DISTANCE,
        }
    }

    /// Prefetches the cache line of its byte `at`.
    #[inline(always)]
    pub(crate) fn prefetch<S: Simd>(self, s: S, at: usize) {
        s.prefetch(self.from, self.distance + at);
    }
}

/// Integer dot products of an instruction set.
///
/// Ternary blocks are multiplied as codes 0, 1, 2; the caller takes the sum of the activations off.
pub(crate) trait BlockDot: Simd {
    /// Whole rows of `I2_S` codes with as many activations: `row.len() == q.len() / 4`. Meanwhile
    /// what is `ahead` of each row is brought into the cache, as many bytes as the row has.
    #[inline(always)]
    fn i2s_rows<const R: usize>(
        self,
        rows: [&[u8]; R],
        _ahead: [Ahead<'_>; R],
        q: &[i8],
    ) -> [i32; R] {
        rows.map(|row| i2s(row, q))
    }

    /// The most tokens for which [`BlockDot::i2s_tile`] serves better than a gemm.
    const BATCH_TOKENS: usize = 1;

    /// The most tokens of a [`BlockDot::i2s_tile`] whose sums have registers.
    const TILE_TOKENS: usize = 5;

    /// As [`BlockDot::i2s_rows`], with `T` tokens; rows and tokens have as many groups.
    #[inline(always)]
    fn i2s_tile<const T: usize>(
        self,
        rows: [&[[u8; i2_s::GROUP_BYTES]]; DOT_ROWS],
        ahead: [Ahead<'_>; DOT_ROWS],
        q: [&[[i8; i2_s::GROUP]]; T],
    ) -> [[i32; DOT_ROWS]; T] {
        let rows = rows.map(|row| row.as_flattened());
        let mut sums = [[0; DOT_ROWS]; T];
        for (sums, q) in sums.iter_mut().zip(q) {
            *sums = self.i2s_rows(rows, ahead, q.as_flattened());
        }
        sums
    }

    /// The codes of a block of `TQ2_0` of adjacent rows.
    #[inline(always)]
    fn tq2_0_rows<const R: usize>(self, codes: [&BlockCodes; R], q: &[i8; Q8K_BLOCK]) -> [i32; R] {
        codes.map(|codes| tq2_0(codes, q))
    }

    /// A block of `TQ1_0` of adjacent rows, without its scale.
    #[inline(always)]
    fn tq1_0_rows<const R: usize>(
        self,
        blocks: [&[u8; tq1_0::BLOCK_BYTES]; R],
        q: &[i8; Q8K_BLOCK],
    ) -> [i32; R] {
        blocks.map(|block| tq1_0(block, q))
    }

    /// A block of `TQ1_0` in the order of `TQ2_0`.
    #[inline(always)]
    fn repack(self, block: &[u8; tq1_0::BLOCK_BYTES], codes: &mut BlockCodes) {
        trits::repack(block, codes);
    }

    /// A block of `PTQ1_0` as codes of two bits: byte `8 p + m` of both runs (`p < 4`, `m < 8`) has
    /// those of weights `32 p + 8 n + m`, `n` from 0 in the lowest bits on.
    #[inline(always)]
    fn unpack_ptq1_0(self, block: &[u8; ptq1_0::BLOCK_BYTES], runs: &mut Runs) {
        trits::unpack_ptq1_0(block, runs);
    }

    /// The weights of a block of `Q8_0`: eight sums of four adjacent products each.
    #[inline(always)]
    fn q8_0(self, weights: &[u8; q8_0::BLOCK], q: &[i8; Q8_0_BLOCK]) -> [i32; 8] {
        let mut sums = [0; 8];
        for (i, (w, q)) in weights.iter().zip(q).enumerate() {
            sums[i / 4] += i32::from(w.cast_signed()) * i32::from(*q);
        }
        sums
    }

    /// The sums of the activations of each group of a block.
    #[inline(always)]
    fn group_sums(self, q: &[i8; Q8K_BLOCK]) -> GroupSums {
        let mut sums = [0; GROUPS];
        for (sum, q) in sums.iter_mut().zip(q.as_chunks::<GROUP>().0) {
            *sum = q.iter().map(|q| i16::from(*q)).sum();
        }
        sums
    }

    /// A block of `Q4_K` of adjacent rows.
    #[inline(always)]
    fn q4_k_rows(
        self,
        blocks: [&[u8; q4_k::BLOCK_BYTES]; DOT_ROWS],
        q: &[i8; Q8K_BLOCK],
        sums: &GroupSums,
    ) -> WithMinima {
        with_minima(blocks.map(|block| &block[q4_k::GROUPS]), sums, |row, i| {
            let byte = blocks[row][q4_k::CODES.start + i / (2 * GROUP) * GROUP + i % GROUP];
            i32::from(byte >> (i / GROUP % 2 * 4) & 15) * i32::from(q[i])
        })
    }

    /// A block of `Q5_K` of adjacent rows.
    #[inline(always)]
    fn q5_k_rows(
        self,
        blocks: [&[u8; q5_k::BLOCK_BYTES]; DOT_ROWS],
        q: &[i8; Q8K_BLOCK],
        sums: &GroupSums,
    ) -> WithMinima {
        with_minima(blocks.map(|block| &block[q5_k::GROUPS]), sums, |row, i| {
            let byte = blocks[row][q5_k::QL.start + i / (2 * GROUP) * GROUP + i % GROUP];
            let high = blocks[row][q5_k::QH.start + i % GROUP] >> (i / GROUP) & 1;
            i32::from(byte >> (i / GROUP % 2 * 4) & 15 | high << 4) * i32::from(q[i])
        })
    }

    /// A block of `Q6_K`, its 8-bit sub-scales applied, without its scale.
    #[inline(always)]
    fn q6_k(self, block: &[u8; q6_k::BLOCK_BYTES], q: &[i8; Q8K_BLOCK]) -> i32 {
        let (low, high, scales) = (&block[q6_k::QL], &block[q6_k::QH], &block[q6_k::SCALES]);
        let mut sum = 0;
        for half in 0..2 {
            for quarter in 0..4 {
                for sub in 0..2 {
                    let mut part = 0;
                    for j in sub * q6_k::GROUP..(sub + 1) * q6_k::GROUP {
                        let nibbles = low[(2 * half + quarter % 2) * q6_k::QUARTER + j];
                        let nibble = if quarter < 2 {
                            nibbles & 15
                        } else {
                            nibbles >> 4
                        };
                        let high = high[half * q6_k::QUARTER + j] >> (2 * quarter) & 3;
                        let weight = i32::from(nibble | high << 4) - i32::from(q6_k::ZERO);
                        part += weight * i32::from(q[(4 * half + quarter) * q6_k::QUARTER + j]);
                    }
                    sum += i32::from(scales[(4 * half + quarter) * 2 + sub].cast_signed()) * part;
                }
            }
        }
        sum
    }

    /// The same of adjacent rows.
    #[inline(always)]
    fn q6_k_rows(
        self,
        blocks: [&[u8; q6_k::BLOCK_BYTES]; DOT_ROWS],
        q: &[i8; Q8K_BLOCK],
    ) -> [i32; DOT_ROWS] {
        let mut sums = [0; DOT_ROWS];
        for (sum, block) in sums.iter_mut().zip(blocks) {
            *sum = self.q6_k(block, q);
        }
        sums
    }
}

/// Scales and minima of a block of `Q4_K` or `Q5_K`.
#[inline(always)]
pub(crate) fn groups(bytes: &[u8]) -> Groups {
    Groups::unpack(
        bytes
            .first_chunk()
            .expect("twelve bytes of scales and minima"),
    )
}

/// The minima of a block with the sums of the activations.
#[inline(always)]
pub(crate) fn minima_dot(groups: &Groups, sums: &GroupSums) -> i32 {
    let mut total = 0;
    for (minimum, sum) in groups.minima.iter().zip(sums) {
        total += i32::from(*minimum) * i32::from(*sum);
    }
    total
}

/// Adds up `product(row, i)` over the weights of a block of each row, times the scales that are in
/// `bytes` of it.
#[inline(always)]
fn with_minima(
    bytes: [&[u8]; DOT_ROWS],
    sums: &GroupSums,
    product: impl Fn(usize, usize) -> i32,
) -> WithMinima {
    let groups = bytes.map(groups);
    let value = |row: usize| {
        let scales = groups[row].scales.iter().enumerate();
        let parts = scales.map(|(group, scale)| {
            let weights = group * GROUP..(group + 1) * GROUP;
            i32::from(*scale) * weights.map(|i| product(row, i)).sum::<i32>()
        });
        parts.sum()
    };
    WithMinima {
        values: std::array::from_fn(value),
        minima: groups.each_ref().map(|groups| minima_dot(groups, sums)),
    }
}

#[inline(always)]
fn i2s(row: &[u8], q: &[i8]) -> i32 {
    let (groups, _) = row.as_chunks::<{ i2_s::GROUP_BYTES }>();
    let mut sum = 0;
    for (bytes, q) in groups.iter().zip(q.as_chunks::<{ i2_s::GROUP }>().0) {
        for (j, byte) in bytes.iter().enumerate() {
            for place in 0..4 {
                let code = i32::from(byte >> (6 - 2 * place) & 3);
                sum += code * i32::from(q[place * i2_s::GROUP_BYTES + j]);
            }
        }
    }
    sum
}

#[inline(always)]
fn tq2_0(codes: &BlockCodes, q: &[i8; Q8K_BLOCK]) -> i32 {
    let mut sum = 0;
    for (j, byte) in codes.iter().enumerate() {
        for place in 0..4 {
            let code = i32::from(byte >> (2 * place) & 3);
            sum += code * i32::from(q[j / 32 * 128 + place * 32 + j % 32]);
        }
    }
    sum
}

#[inline(always)]
fn tq1_0(block: &[u8; tq1_0::BLOCK_BYTES], q: &[i8; Q8K_BLOCK]) -> i32 {
    let trit = |byte: u8, n: usize| {
        let shifted = byte.wrapping_mul([1, 3, 9, 27, 81][n]);
        i32::from(((u16::from(shifted) * 3) >> 8) as u8)
    };
    let mut sum = 0;
    let mut first = 0;
    for (part, trits) in [(tq1_0::PART_A, 5), (tq1_0::PART_B, 5), (tq1_0::PART_C, 4)] {
        for n in 0..trits {
            for byte in &block[part.clone()] {
                sum += trit(*byte, n) * i32::from(q[first]);
                first += 1;
            }
        }
    }
    sum
}
