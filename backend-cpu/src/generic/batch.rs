//! Products of `I2_S` matrices with one token or a small batch: rows as they lie, each against
//! several tokens while it is in the cache. And of some rows alone, with one token.
//!
//! A [`gemm`](super::gemm) transposes the rows first, which pays only when many tokens meet them.

use std::ops::Range;

use bitnet_kernels::order::LANES;

use super::gemm::{Panel, parts};
use super::streams::Streams;
use crate::microkernel::dot::{Ahead, BlockDot, DOT_ROWS};
use crate::microkernel::gemm::{GemmArgs, Microkernel};
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::simd::STREAM_DISTANCE;

/// `rows` of a matrix against `tokens` of `x` into `out`, `[tokens, rows]`.
#[inline(always)]
pub(crate) fn i2s<M: Microkernel>(
    b: M,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    panel: &mut Panel,
    out: &mut [f32],
) {
    if tokens.len() == 1 {
        return i2s_one(b, m, rows, x, tokens, out);
    }
    let args = GemmArgs {
        m,
        rows,
        x,
        tokens,
        out,
    };
    if let Some(args) = b.few_in_tiles(args, &mut panel.words) {
        in_strips(b, args);
    }
}

/// The same as rows lie, from several [streams](super::streams).
///
/// Rows go in strips of sixteen, which all tokens meet before the next strip comes: a strip and the
/// activations of as many tokens as there are at a time stay in the nearest caches.
#[inline(always)]
fn in_strips<B: BlockDot>(b: B, args: GemmArgs<'_>) {
    let GemmArgs {
        m,
        rows,
        x,
        tokens,
        out,
    } = args;
    let width = rows.len();
    let streams = Streams::new(&rows);
    for strip in streams.strips() {
        let rows: [&[u8]; LANES] = streams.rows(strip, |row| m.row(row));
        for part in parts(tokens.len(), B::TILE_TOKENS) {
            let strip = Strip {
                m,
                rows,
                // What is ahead is prefetched once.
                distance: if part.start == 0 { STREAM_DISTANCE } else { 0 },
                streams,
                strip,
                x,
                first: tokens.start + part.start,
            };
            let out = &mut out[part.start * width..];
            match part.len() {
                ..=2 => strip.write::<B, 2>(b, out, width),
                3 => strip.write::<B, 3>(b, out, width),
                4 => strip.write::<B, 4>(b, out, width),
                5 => strip.write::<B, 5>(b, out, width),
                _ => strip.write::<B, 6>(b, out, width),
            }
        }
    }
}

/// The same with one token: rows from several [streams](super::streams).
#[inline(always)]
pub(crate) fn i2s_one<B: BlockDot>(
    b: B,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    out: &mut [f32],
) {
    // A pass may have none.
    let Some(token) = tokens.into_iter().next() else {
        return;
    };
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
pub(crate) fn results<B: BlockDot>(
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

/// Sixteen rows and some tokens.
struct Strip<'a> {
    m: &'a MatrixRef<'a>,
    rows: [&'a [u8]; LANES],
    /// Bytes from what is read of a row to what is prefetched.
    distance: usize,
    streams: Streams,
    strip: usize,
    x: &'a Encoded<'a>,
    /// The first token.
    first: usize,
}

impl Strip<'_> {
    /// Writes the products with `T` tokens to `out`, `[tokens, width]`.
    #[inline(always)]
    fn write<B: BlockDot, const T: usize>(&self, b: B, out: &mut [f32], width: usize) {
        let mut q: [&[i8]; T] = [&[]; T];
        for (t, q) in q.iter_mut().enumerate() {
            *q = self.x.q(self.first + t);
        }
        let mut sums = [[0; LANES]; T];
        for (tile, rows) in self.rows.as_chunks::<DOT_ROWS>().0.iter().enumerate() {
            let ahead = rows.map(|from| Ahead {
                from,
                distance: self.distance,
            });
            let groups = rows.map(|row| row.as_chunks().0);
            let tile_sums = b.i2s_tile(groups, ahead, q.map(|q| q.as_chunks().0));
            for (sums, tile_sums) in sums.iter_mut().zip(tile_sums) {
                sums[tile * DOT_ROWS..(tile + 1) * DOT_ROWS].copy_from_slice(&tile_sums);
            }
        }
        for (t, (sums, out)) in sums.iter().zip(out.chunks_exact_mut(width)).enumerate() {
            let values = results(b, self.m, sums, self.x, self.first + t);
            self.streams.put(self.strip, values, out);
        }
    }
}
