//! The screen of an output head: its rows in six bits, and how far a logit can be from what they
//! say.
//!
//! The proof that the bound holds is in `docs/explanation/output-head.md`; names here are the ones
//! there.

use std::ops::Range;

use bitnet_kernels::Format;
use bitnet_kernels::order::LANES;

use super::float::{BF16, F16, F32, Weights};
use super::streams::Streams;
use crate::microkernel::dot::DOT_ROWS;
use crate::microkernel::operands::MatrixRef;
use crate::microkernel::screen::{BLOCK, Block, Planes, RUN, ScreenDot};
use crate::microkernel::simd::Simd;

/// The value between codes 31 and 32.
const MIDDLE: f32 = 31.5;
/// The largest magnitude of a two-byte activation whose bytes are both at least -128 and at most
/// 127.
const LARGEST: f32 = 127.0 * 256.0 + 127.0;
/// What is left out of account of relative roundings in sums of squares, and more.
const SLACK: f64 = 1.0 + 1e-6;
/// More than roundings of numbers below the normal range of f32 add up to.
const TINY: f64 = 1e-37;
/// Bounds of products beyond this are not trusted: a partial sum might leave the range of f32.
const REACH: f64 = 1e38;

/// Blocks of a row of `cols` weights.
pub(crate) fn blocks(cols: usize) -> usize {
    cols.div_ceil(BLOCK)
}

/// What is known of rows, a value per row.
pub(crate) struct Bounds<S> {
    /// A code `c` stands for `(c - 31.5) * scale`.
    pub(crate) scale: S,
    /// At least the norm of what the codes leave out.
    pub(crate) error: S,
    /// At least the norm of the row.
    pub(crate) norm: S,
}

/// Rows of a screen.
pub(crate) struct Rows<'a> {
    /// `[rows, blocks(cols)]`.
    pub(crate) blocks: &'a [Block],
    pub(crate) bounds: Bounds<&'a [f32]>,
}

/// Rows of a screen that are being made.
pub(crate) struct RowsMut<'a> {
    /// `[rows, blocks(cols)]`.
    pub(crate) blocks: &'a mut [Block],
    pub(crate) bounds: Bounds<&'a mut [f32]>,
}

/// One token's activations, as the screen meets them.
pub(crate) struct Query {
    pub(crate) planes: Vec<Planes>,
    /// The sum of the two-byte activations.
    total: f64,
    /// An activation is its two bytes times this.
    scale: f64,
    /// What a unit of a row's error may add to a logit.
    error: f64,
    /// What a unit of a row's norm may add to a logit.
    norm: f64,
}

impl Query {
    /// Space for a token of `cols` activations.
    pub(crate) fn new(cols: usize) -> Query {
        Query {
            planes: vec![Planes::ZERO; blocks(cols)],
            total: 0.0,
            scale: 0.0,
            error: 0.0,
            norm: 0.0,
        }
    }

    /// Takes a token's activations in. If one of them is not finite, nothing is ruled out.
    pub(crate) fn set(&mut self, x: &[f32]) {
        let largest = x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
        let scale = f64::from(largest) / f64::from(LARGEST);
        let (mut squares, mut errors, mut total) = (0.0, 0.0, 0);
        self.planes.fill(Planes::ZERO);
        for (planes, x) in self.planes.iter_mut().zip(x.chunks(BLOCK)) {
            for (planes, x) in planes.0.iter_mut().zip(x.chunks(RUN)) {
                for (j, x) in x.iter().enumerate() {
                    let x = f64::from(*x);
                    // A scale of 0 makes NaN here, which becomes 0.
                    let q = (x / scale).round_ties_even() as i32;
                    // The low byte is signed, so the high one is rounded to nearest.
                    let high = (q + 128) >> 8;
                    planes[0][j] = high as i8;
                    planes[1][j] = (q - 256 * high) as i8;
                    let error = x - f64::from(q) * scale;
                    squares += x * x;
                    errors += error * error;
                    total += i64::from(q);
                }
            }
        }
        let (x_norm, x_error) = (squares.sqrt() * SLACK, errors.sqrt() * SLACK);
        // Roundings on the way of a sum: one for each addition to a lane, the tail's, and those of
        // the fold.
        let roundings = (x.len().div_ceil(LANES) + 1 + LANES.ilog2() as usize) as f64;
        let unit = f64::from(f32::EPSILON) / 2.0;
        let chain = roundings * unit / (1.0 - roundings * unit);
        self.total = total as f64;
        self.scale = scale;
        self.error = (x_norm + x_error) * SLACK;
        self.norm = (chain * x_norm * SLACK + x_error) * SLACK;
    }

    /// The most that a row's logit can be.
    #[inline(always)]
    fn upper(&self, [high, low]: [i32; 2], scale: f32, error: f32, norm: f32) -> f32 {
        let integer = 256.0 * f64::from(high) + f64::from(low) - f64::from(MIDDLE) * self.total;
        let estimate = f64::from(scale) * self.scale * integer;
        let margin = f64::from(error) * self.error + f64::from(norm) * self.norm;
        let upper = estimate + margin;
        // Two units in the last place of an f32 more, so that rounding to nearest comes out no
        // lower.
        let upper = upper + (upper.abs() * f64::from(f32::EPSILON) + TINY);
        // Written so that NaN rules nothing out.
        let sure = f64::from(norm) * self.error < REACH && upper > f64::NEG_INFINITY;
        (if sure { upper } else { f64::INFINITY }) as f32
    }
}

/// Whether rows of this format can be screened: those whose products are sums of floats.
pub(crate) fn takes(format: Format) -> bool {
    matches!(format, Format::F16 | Format::BF16 | Format::F32)
}

/// Makes the screen of `rows` of a matrix of `cols` columns in one of the formats that [`takes`]
/// names.
#[inline(always)]
pub(crate) fn encode<L: Simd>(
    l: L,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    cols: usize,
    out: RowsMut<'_>,
) {
    let RowsMut { blocks, bounds } = out;
    let per_row = blocks.len() / rows.len();
    for (i, (row, blocks)) in rows.zip(blocks.chunks_exact_mut(per_row)).enumerate() {
        let row = m.row(row);
        let found = match m.format {
            Format::F16 => encode_row::<L, F16>(l, row, cols, blocks),
            Format::BF16 => encode_row::<L, BF16>(l, row, cols, blocks),
            Format::F32 => encode_row::<L, F32>(l, row, cols, blocks),
            other => unreachable!("{other} is not screened"),
        };
        bounds.scale[i] = found.scale;
        bounds.error[i] = found.error;
        bounds.norm[i] = found.norm;
    }
}

#[inline(always)]
fn encode_row<L: Simd, W: Weights<L>>(
    l: L,
    row: &[u8],
    cols: usize,
    blocks: &mut [Block],
) -> Bounds<f32> {
    let mut largest = l.splat(0.0);
    let mut squares = l.zero_f64();
    for i in 0..cols.div_ceil(LANES) {
        let x = chunk::<L, W>(l, row, cols, i);
        largest = l.max(l.abs(x), largest);
        squares = l.add_f64(squares, l.mul(x, x));
    }
    let largest = l.to_array(largest).into_iter().fold(0.0, f32::max);
    // Where the scale would lose its precision, the row is all error.
    let scale = match largest / MIDDLE {
        scale if scale.is_finite() && scale > 1e-30 => scale,
        _ => 0.0,
    };
    let inverse = l.splat(if scale > 0.0 { 1.0 / scale } else { 0.0 });
    let minus_scale = l.splat(-scale);
    let (middle, first, last) = (l.splat(MIDDLE), l.splat(0.0), l.splat(63.0));
    let mut errors = l.zero_f64();
    // Codes behind the last column meet zeros; what they are does not matter.
    let mut codes = [0; BLOCK];
    for (block, out) in blocks.iter_mut().enumerate() {
        for (i, codes) in codes.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
            let i = block * (BLOCK / LANES) + i;
            if i * LANES >= cols {
                break;
            }
            let x = chunk::<L, W>(l, row, cols, i);
            let code = l.round(l.fma(x, inverse, middle));
            let code = l.min(l.max(code, first), last);
            let error = l.fma(minus_scale, l.sub(code, middle), x);
            errors = l.add_f64(errors, l.mul(error, error));
            l.store_i8(code, codes);
        }
        *out = Block::pack(&codes);
    }
    Bounds {
        scale,
        error: norm(l.store_f64(errors), cols),
        norm: norm(l.store_f64(squares), cols),
    }
}

/// At least the square root of a sum of squares that were rounded to f32.
fn norm(squares: [f64; LANES], cols: usize) -> f32 {
    let sum: f64 = squares.into_iter().sum();
    // Squares below the normal range may have been lost: each of a value of less than 2^-62.
    let lost = (cols as f64).sqrt() * 2.0_f64.powi(-62);
    ((sum.sqrt() * SLACK + lost) as f32).next_up()
}

/// Sixteen weights of a row of `cols`, the `i`th such; zeros behind the last.
#[inline(always)]
fn chunk<L: Simd, W: Weights<L>>(l: L, row: &[u8], cols: usize, i: usize) -> L::F {
    let bytes = LANES * W::BYTES;
    if (i + 1) * LANES <= cols {
        return W::load(l, &row[i * bytes..(i + 1) * bytes]);
    }
    let mut values = [0.0; LANES];
    let tail = row[i * bytes..cols * W::BYTES].chunks_exact(W::BYTES);
    for (value, bytes) in values.iter_mut().zip(tail) {
        *value = W::one(bytes);
    }
    l.load(&values)
}

/// Writes the most that each row's logits can be to `out`, `[queries, rows]`.
#[inline(always)]
pub(crate) fn uppers<S: ScreenDot>(s: S, rows: Rows<'_>, queries: &[Query], out: &mut [f32]) {
    let Rows { blocks, bounds } = rows;
    let count = bounds.scale.len();
    let per_row = blocks.len() / count;
    let row = |row: usize| &blocks[row * per_row..(row + 1) * per_row];
    let streams = Streams::new(&(0..count));
    for strip in streams.strips() {
        let rows = streams.rows(strip, row);
        let of = |values: &[f32]| streams.rows(strip, |row| values[row]);
        let bounds = Bounds {
            scale: of(bounds.scale),
            error: of(bounds.error),
            norm: of(bounds.norm),
        };
        let mut t = 0;
        while t < queries.len() {
            let mut sums = [[[0; 2]; LANES]; TOKENS];
            let count_of_sums = match queries[t..].first_chunk() {
                Some(queries) => {
                    sums = for_tokens(s, &rows, queries);
                    TOKENS
                }
                None => {
                    let planes = [queries[t].planes.as_slice()];
                    let fours = rows.as_chunks::<DOT_ROWS>().0.iter();
                    for (rows, sums) in fours.zip(sums[0].as_chunks_mut::<DOT_ROWS>().0) {
                        *sums = s.screen(*rows, planes).map(|[sums]| sums);
                    }
                    1
                }
            };
            for sums in &sums[..count_of_sums] {
                let mut uppers = [0.0; LANES];
                for lane in 0..LANES {
                    let Bounds { scale, error, norm } = &bounds;
                    let (scale, error, norm) = (scale[lane], error[lane], norm[lane]);
                    uppers[lane] = queries[t].upper(sums[lane], scale, error, norm);
                }
                streams.put(strip, uppers, &mut out[t * count..(t + 1) * count]);
                t += 1;
            }
        }
    }
}

/// Tokens that a strip of rows meets at a time, where there are as many.
const TOKENS: usize = 4;

/// The sums of a strip's codes with [`TOKENS`] tokens.
#[inline(always)]
fn for_tokens<S: ScreenDot>(
    s: S,
    rows: &[&[Block]; LANES],
    queries: &[Query; TOKENS],
) -> [[[i32; 2]; LANES]; TOKENS] {
    let planes: [&[Planes]; TOKENS] = std::array::from_fn(|t| queries[t].planes.as_slice());
    let mut sums = [[[0; 2]; LANES]; TOKENS];
    if S::PAIRS {
        for (i, pair) in rows.as_chunks::<2>().0.iter().enumerate() {
            let [first, second] = s.screen(*pair, planes);
            for (sums, (first, second)) in sums.iter_mut().zip(first.into_iter().zip(second)) {
                (sums[2 * i], sums[2 * i + 1]) = (first, second);
            }
        }
    } else {
        for (i, row) in rows.iter().enumerate() {
            let [products] = s.screen([*row], planes);
            for (sums, product) in sums.iter_mut().zip(products) {
                sums[i] = product;
            }
        }
    }
    sums
}
