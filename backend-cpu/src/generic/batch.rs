//! Products of `I2_S` matrices with one token or a small batch: rows as they lie, each against
//! several tokens while it is in the cache. And of some rows alone, with one token.
//!
//! A [`gemm`](super::gemm) transposes the rows first, which pays only when many tokens meet them.

use std::ops::Range;

use bitnet_kernels::order::LANES;

use super::streams::Streams;
use crate::microkernel::dot::{Ahead, BlockDot, DOT_ROWS};
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::simd::STREAM_DISTANCE;

/// Tokens at a time, at most: as many as have registers.
const TOKENS: usize = 5;

/// `rows` of a matrix against `tokens` of `x` into `out`, `[tokens, rows]`.
///
/// Rows go in strips of sixteen, which all tokens meet before the next strip comes: a strip and the
/// activations of as many tokens as there are at a time stay in the nearest caches.
#[inline(always)]
pub(crate) fn i2s<B: BlockDot>(
    b: B,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    let width = rows.len();
    let count = tokens.len();
    if count == 1 {
        return one_token(b, m, rows, x, tokens.start, out);
    }
    let parts = count.div_ceil(TOKENS);
    for first in (0..width).step_by(LANES) {
        let strip = Strip {
            m,
            rows: rows.start + first..rows.start + width.min(first + LANES),
            x,
        };
        // What follows the strip is most often this thread's next.
        let next = strip.rows.end * m.stride;
        let next_rows = &m.bytes[next..m.bytes.len().min(next + LANES * m.stride)];
        for part in 0..parts {
            let (from, to) = (count * part / parts, count * (part + 1) / parts);
            let out = &mut out[from * width + first..];
            let next_rows =
                &next_rows[next_rows.len() * part / parts..next_rows.len() * (part + 1) / parts];
            let from = tokens.start + from;
            match tokens.start + to - from {
                ..=2 => strip.write::<B, 2>(b, from, next_rows, out, width),
                3 => strip.write::<B, 3>(b, from, next_rows, out, width),
                4 => strip.write::<B, 4>(b, from, next_rows, out, width),
                _ => strip.write::<B, TOKENS>(b, from, next_rows, out, width),
            }
        }
    }
}

/// The same with one token: rows from several [streams](super::streams).
#[inline(always)]
fn one_token<B: BlockDot>(
    b: B,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    token: usize,
    out: &mut [f32],
) {
    let streams = Streams::new(&rows);
    for strip in streams.strips() {
        let rows: [&[u8]; LANES] = streams.rows(strip, |row| m.row(row));
        let mut sums = [0; LANES];
        let fours = rows.as_chunks::<DOT_ROWS>().0.iter();
        for (rows, sums) in fours.zip(sums.as_chunks_mut().0) {
            *sums = b.i2s_rows(*rows, rows.map(Ahead::of), x.q(token));
        }
        streams.put(strip, results(b, m, &sums, x, token), out);
    }
}

/// The rows of `list`, which is not empty, against one token: `out[i]` is that of row `list[i]`.
///
/// What lies between them is not read: of each stream, the rows to come are prefetched where they
/// lie.
#[inline(always)]
pub(crate) fn i2s_listed<B: BlockDot>(
    b: B,
    m: &MatrixRef<'_>,
    list: &[u32],
    x: &Encoded<'_>,
    token: usize,
    out: &mut [f32],
) {
    let streams = Streams::new(&(0..list.len()));
    let row = |i: usize| m.row(list[i.min(list.len() - 1)] as usize);
    let distance = STREAM_DISTANCE.div_ceil(m.stride.max(1));
    for strip in streams.strips() {
        let rows: [&[u8]; LANES] = streams.rows(strip, row);
        let ahead = streams.rows(strip, |i| Ahead {
            from: row(i + distance),
            distance: 0,
        });
        let mut sums = [0; LANES];
        let fours = rows.as_chunks::<DOT_ROWS>().0.iter();
        let fours = fours.zip(ahead.as_chunks::<DOT_ROWS>().0);
        for ((rows, ahead), sums) in fours.zip(sums.as_chunks_mut().0) {
            *sums = b.i2s_rows(*rows, *ahead, x.q(token));
        }
        streams.put(strip, results(b, m, &sums, x, token), out);
    }
}

/// What the sums of sixteen rows' codes with a token come to.
#[inline(always)]
pub(super) fn results<B: BlockDot>(
    b: B,
    m: &MatrixRef<'_>,
    sums: &[i32; LANES],
    x: &Encoded<'_>,
    token: usize,
) -> [f32; LANES] {
    let (total, scale) = (x.sums(token)[0], x.scales(token)[0]);
    let mut values = [0.0; LANES];
    for (value, sum) in values.iter_mut().zip(sums) {
        *value = (sum - total) as f32;
    }
    let values = b.div(b.load(&values), b.splat(scale));
    let values = b.mul(values, b.splat(m.scale));
    b.to_array(b.finite_or_nan(values))
}

/// Up to sixteen rows.
struct Strip<'a> {
    m: &'a MatrixRef<'a>,
    rows: Range<usize>,
    x: &'a Encoded<'a>,
}

impl Strip<'_> {
    /// Writes the products with `T` tokens, `stride` apart, and prefetches `next_rows` meanwhile.
    #[inline(always)]
    fn write<B: BlockDot, const T: usize>(
        &self,
        b: B,
        first: usize,
        next_rows: &[u8],
        out: &mut [f32],
        stride: usize,
    ) {
        let Strip { m, rows, x } = self;
        let mut q: [&[i8]; T] = [&[]; T];
        for (t, q) in q.iter_mut().enumerate() {
            *q = x.q(first + t);
        }
        let mut sums = [[0; LANES]; T];
        let tiles = LANES / DOT_ROWS;
        for tile in 0..tiles {
            // Rows that fill up the strip repeat its last one; their results are dropped.
            let row = |r: usize| m.row((rows.start + tile * DOT_ROWS + r).min(rows.end - 1));
            let tile_rows = [row(0), row(1), row(2), row(3)];
            let next_rows =
                &next_rows[next_rows.len() * tile / tiles..next_rows.len() * (tile + 1) / tiles];
            let groups = tile_rows.map(|row| row.as_chunks().0);
            let tile_sums = b.i2s_tile(groups, q.map(|q| q.as_chunks().0), next_rows);
            for (sums, tile_sums) in sums.iter_mut().zip(tile_sums) {
                sums[tile * DOT_ROWS..(tile + 1) * DOT_ROWS].copy_from_slice(&tile_sums);
            }
        }
        for (t, sums) in sums.iter().enumerate() {
            let values = results(b, m, sums, x, first + t);
            out[t * stride..][..rows.len()].copy_from_slice(&values[..rows.len()]);
        }
    }
}
