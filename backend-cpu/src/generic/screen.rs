//! The screen of an output head: its rows in six bits, and how far a logit can be from what they
//! say. The four high bits bound every row, all of them the rows that are left.
//!
//! The proof that the bounds hold is in `docs/explanation/output-head.md`; names here are the ones
//! there.

use std::ops::Range;

use bitnet_kernels::Format;
use bitnet_kernels::order::LANES;

use super::float::{BF16, F16, F32, Weights};
use super::streams::Streams;
use crate::microkernel::dot::{Ahead, DOT_ROWS};
use crate::microkernel::operands::MatrixRef;
use crate::microkernel::screen::{
    BLOCK, Coarse, Codes, CodesAhead, FINE_BITS, Fine, Plane, RUN, ScreenDot, pack,
};
use crate::microkernel::simd::{STREAM_DISTANCE, Simd};

/// The value between codes 31 and 32.
const MIDDLE: f32 = 31.5;
/// The same of the high bits of codes alone, and of their low bits.
const COARSE_MIDDLE: f32 = 7.5;
const FINE_MIDDLE: f32 = 1.5;
/// A step of the high bits, in steps of codes.
const COARSE_STEP: f32 = (1 << FINE_BITS) as f32;
/// Weights beyond so many times the root of their mean square have the first or last code: most
/// are nearer then to what four bits say, and hardly any further from what six say.
const REACH_OF_CODES: f64 = 3.0;
/// The largest magnitude of a two-byte activation whose bytes are both at least -128 and at most
/// 127.
const LARGEST: f32 = 127.0 * 256.0 + 127.0;
/// The high bytes of activations are enough at first if they add no more to a bound than so many of
/// its standard deviations, for weights and activations without a pattern.
const ENOUGH: f64 = 1.0;
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
#[derive(Clone, Copy)]
pub(crate) struct Bounds<S> {
    /// A code `c` stands for `(c - 31.5) * scale`.
    pub(crate) scale: S,
    /// At least the norm of what the high bits of the codes leave out.
    pub(crate) coarse_error: S,
    /// At least the norm of what the codes leave out.
    pub(crate) error: S,
    /// At least the norm of the row.
    pub(crate) norm: S,
}

/// Rows of a screen.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    /// `[rows, blocks(cols)]`.
    pub(crate) coarse: &'a [Coarse],
    pub(crate) fine: &'a [Fine],
    pub(crate) bounds: Bounds<&'a [f32]>,
}

/// Rows of a screen that are being made.
pub(crate) struct RowsMut<'a> {
    /// `[rows, blocks(cols)]`.
    pub(crate) coarse: &'a mut [Coarse],
    pub(crate) fine: &'a mut [Fine],
    pub(crate) bounds: Bounds<&'a mut [f32]>,
}

/// How activations are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    /// By their high bytes, where these are enough.
    Enough,
    /// By both bytes.
    Full,
}

/// One token's activations, as the screen meets them: integers of two bytes, or the high bytes of
/// these.
pub(crate) struct Query {
    /// `[2, blocks(cols)]`, the high bytes first.
    planes: Vec<Plane>,
    /// What the high bytes say, if they are enough.
    high: Option<Reading>,
    full: Reading,
}

/// What some bytes of activations say of them.
#[derive(Clone, Copy, Default)]
struct Reading {
    /// How many planes are met.
    bytes: usize,
    /// The sum of the integers that stand for the activations.
    total: f64,
    /// An activation is its integer times this.
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
            planes: vec![Plane::ZERO; 2 * blocks(cols)],
            high: None,
            full: Reading::default(),
        }
    }

    /// Takes a token's activations in. Their high bytes are met first if that is `wanted` and they
    /// say nearly as much. If an activation is not finite, nothing is ruled out.
    pub(crate) fn set(&mut self, x: &[f32], wanted: bool) {
        let largest = f64::from(x.iter().fold(0.0_f32, |largest, x| largest.max(x.abs())));
        let scale = largest / f64::from(LARGEST);
        let high_scale = 256.0 * scale;
        let (mut squares, mut errors, mut high_errors) = (0.0, 0.0, 0.0);
        let (mut total, mut high_total) = (0, 0);
        self.planes.fill(Plane::ZERO);
        let (high_planes, low_planes) = self.planes.split_at_mut(blocks(x.len()));
        let planes = high_planes.iter_mut().zip(low_planes);
        for ((high_plane, low_plane), x) in planes.zip(x.chunks(BLOCK)) {
            for (i, x) in x.iter().enumerate() {
                let x = f64::from(*x);
                // A scale of 0 makes NaN here, which becomes 0.
                let q = (x / scale).round_ties_even() as i32;
                // The low byte is signed, so the high one is rounded to nearest.
                let high = (q + 128) >> 8;
                high_plane.0[i / RUN][i % RUN] = high as i8;
                low_plane.0[i / RUN][i % RUN] = (q - 256 * high) as i8;
                let error = x - f64::from(q) * scale;
                let high_error = x - f64::from(high) * high_scale;
                squares += x * x;
                errors += error * error;
                high_errors += high_error * high_error;
                total += i64::from(q);
                high_total += i64::from(high);
            }
        }
        let x_norm = squares.sqrt() * SLACK;
        // Roundings on the way of a sum: one for each addition to a lane, the tail's, and those of
        // the fold.
        let roundings = (x.len().div_ceil(LANES) + 1 + LANES.ilog2() as usize) as f64;
        let unit = f64::from(f32::EPSILON) / 2.0;
        let chain = roundings * unit / (1.0 - roundings * unit);
        let reading = |bytes, total: i64, scale, errors: f64| {
            let x_error = errors.sqrt() * SLACK;
            Reading {
                bytes,
                total: total as f64,
                scale,
                error: (x_norm + x_error) * SLACK,
                norm: (chain * x_norm * SLACK + x_error) * SLACK,
            }
        };
        self.full = reading(2, total, scale, errors);
        let high = reading(1, high_total, high_scale, high_errors);
        let is_enough = high.norm * (x.len() as f64).sqrt() <= ENOUGH * high.error;
        self.high = (wanted && is_enough).then_some(high);
    }

    /// Whether its low bytes are left out at first.
    pub(crate) fn is_short(&self) -> bool {
        self.high.is_some()
    }

    #[inline(always)]
    fn reading(&self, precision: Precision) -> Reading {
        match precision {
            Precision::Enough => self.high.unwrap_or(self.full),
            Precision::Full => self.full,
        }
    }
}

impl Reading {
    /// What the codes of a row come to, less their middle, from the sum of their products with each
    /// of the planes.
    #[inline(always)]
    fn product(&self, sums: &[i32], middle: f32) -> f64 {
        let sum = match *sums {
            [high, low] => 256.0 * f64::from(high) + f64::from(low),
            [sum] => f64::from(sum),
            _ => f64::NAN,
        };
        self.scale * (sum - f64::from(middle) * self.total)
    }

    /// The most that a row's logit can be, if a unit of its `product` is `scale`.
    #[inline(always)]
    fn upper(&self, product: f64, scale: f64, error: f32, norm: f32) -> f32 {
        let margin = f64::from(error) * self.error + f64::from(norm) * self.norm;
        let upper = rounded_up(scale * product + margin);
        // Written so that NaN rules nothing out.
        match f64::from(norm) * self.error < REACH && upper > f32::NEG_INFINITY {
            true => upper,
            false => f32::INFINITY,
        }
    }
}

/// An f32 that is no lower: two units in the last place are added, so that rounding to nearest
/// takes nothing off.
#[inline(always)]
fn rounded_up(x: f64) -> f32 {
    (x + (x.abs() * f64::from(f32::EPSILON) + TINY)) as f32
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
    let RowsMut {
        coarse,
        fine,
        bounds,
    } = out;
    let per_row = coarse.len() / rows.len();
    let blocks = coarse
        .chunks_exact_mut(per_row)
        .zip(fine.chunks_exact_mut(per_row));
    for (i, (row, blocks)) in rows.zip(blocks).enumerate() {
        let row = m.row(row);
        let found = match m.format {
            Format::F16 => encode_row::<L, F16>(l, row, cols, blocks),
            Format::BF16 => encode_row::<L, BF16>(l, row, cols, blocks),
            Format::F32 => encode_row::<L, F32>(l, row, cols, blocks),
            other => unreachable!("{other} is not screened"),
        };
        bounds.scale[i] = found.scale;
        bounds.coarse_error[i] = found.coarse_error;
        bounds.error[i] = found.error;
        bounds.norm[i] = found.norm;
    }
}

#[inline(always)]
fn encode_row<L: Simd, W: Weights<L>>(
    l: L,
    row: &[u8],
    cols: usize,
    blocks: (&mut [Coarse], &mut [Fine]),
) -> Bounds<f32> {
    let mut largest = l.splat(0.0);
    let mut squares = l.zero_f64();
    for i in 0..cols.div_ceil(LANES) {
        let x = chunk::<L, W>(l, row, cols, i);
        largest = l.max(l.abs(x), largest);
        squares = l.add_f64(squares, l.mul(x, x));
    }
    let squares = l.store_f64(squares);
    let mean: f64 = squares.iter().sum::<f64>() / cols as f64;
    let largest = l.to_array(largest).into_iter().fold(0.0, f32::max);
    let reach = f64::from(largest).min(REACH_OF_CODES * mean.sqrt()) as f32;
    // Where the scale would lose its precision, the row is all error.
    let scale = match reach / MIDDLE {
        scale if scale.is_finite() && scale > 1e-30 => scale,
        _ => 0.0,
    };
    let inverse = l.splat(if scale > 0.0 { 1.0 / scale } else { 0.0 });
    let (minus_scale, minus_coarse) = (l.splat(-scale), l.splat(-COARSE_STEP * scale));
    let (middle, first, last) = (l.splat(MIDDLE), l.splat(0.0), l.splat(63.0));
    // The four codes of a step of the high bits become -3/8 to 3/8 and so what is between them.
    let (quarter, between) = (
        l.splat(1.0 / COARSE_STEP),
        l.splat(-FINE_MIDDLE / COARSE_STEP),
    );
    let coarse_middle = l.splat(COARSE_MIDDLE);
    let (mut errors, mut coarse_errors) = (l.zero_f64(), l.zero_f64());
    // Codes behind the last column meet zeros; what they are does not matter.
    let mut codes = [0; BLOCK];
    for (block, (coarse, fine)) in blocks.0.iter_mut().zip(blocks.1).enumerate() {
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
            let high = l.round(l.fma(code, quarter, between));
            let error = l.fma(minus_coarse, l.sub(high, coarse_middle), x);
            coarse_errors = l.add_f64(coarse_errors, l.mul(error, error));
            l.store_i8(code, codes);
        }
        pack(&codes, FINE_BITS, coarse);
        pack(&codes, 0, fine);
    }
    Bounds {
        scale,
        coarse_error: norm(l.store_f64(coarse_errors), cols),
        error: norm(l.store_f64(errors), cols),
        norm: norm(squares, cols),
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

/// Writes the most that each row's logits can be, by the high bits of its codes, to `out`,
/// `[queries, rows]`.
#[inline(always)]
pub(crate) fn uppers<S: ScreenDot>(s: S, rows: Rows<'_>, queries: &[Query], out: &mut [f32]) {
    let count = rows.bounds.scale.len();
    bound::<S, false>(s, rows, (count, |row| row), queries, Precision::Enough, out);
}

/// Writes the most that logits of the rows of `list`, which is not empty, can be, by all bits of
/// their codes, to `out`, `[queries, list]`.
#[inline(always)]
pub(crate) fn refine<S: ScreenDot>(
    s: S,
    rows: Rows<'_>,
    list: &[u32],
    queries: &[Query],
    precision: Precision,
    out: &mut [f32],
) {
    let listed = (list.len(), |i: usize| list[i] as usize);
    bound::<S, true>(s, rows, listed, queries, precision, out);
}

/// Bounds so many rows, of which the `i`th is `row(i)`, by all bits of their codes or by the high
/// ones.
///
/// What lies between the rows is not read: of each stream, those to come are prefetched where they
/// lie, and behind the last what follows it in memory, as it does in the next piece. So is what is
/// known of the rows of that piece, of which too little is read at once to make a stream.
#[inline(always)]
fn bound<S: ScreenDot, const ALL: bool>(
    s: S,
    rows: Rows<'_>,
    (count, row): (usize, impl Fn(usize) -> usize),
    queries: &[Query],
    precision: Precision,
    out: &mut [f32],
) {
    let bounds = rows.bounds;
    let places = Places {
        coarse: rows.coarse,
        fine: rows.fine,
        per_row: rows.coarse.len() / bounds.scale.len(),
    };
    let distance = STREAM_DISTANCE.div_ceil(places.per_row * size_of::<Coarse>());
    let ahead = |i: usize| {
        let at = (i + distance).min(count - 1);
        row(at) + (i + distance - at)
    };
    let (errors, middle, step) = match ALL {
        true => (bounds.error, MIDDLE, 1.0),
        false => (bounds.coarse_error, COARSE_MIDDLE, COARSE_STEP),
    };
    let streams = Streams::split(&(0..count), S::STREAMS);
    for strip in streams.strips() {
        for values in [bounds.scale, errors, bounds.norm] {
            s.prefetch(
                values,
                size_of_val(values) + strip * size_of::<[f32; LANES]>(),
            );
        }
        let (rows, ahead) = (streams.rows(strip, &row), streams.rows(strip, ahead));
        let mut t = 0;
        while t < queries.len() {
            let group = Group::of(&queries[t..], precision);
            let sums = group.sums::<S, ALL>(s, places, &rows, &ahead);
            let mut at = 0;
            for query in &queries[t..t + group.queries] {
                let reading = query.reading(precision);
                let mut uppers = [0.0; LANES];
                for (lane, upper) in uppers.iter_mut().enumerate() {
                    let product = reading.product(&sums[lane][at..at + reading.bytes], middle);
                    let row = rows[lane];
                    let scale = f64::from(step) * f64::from(bounds.scale[row]);
                    *upper = reading.upper(product, scale, errors[row], bounds.norm[row]);
                }
                streams.put(strip, uppers, &mut out[t * count..(t + 1) * count]);
                at += reading.bytes;
                t += 1;
            }
        }
    }
}

/// Where the codes of rows lie.
#[derive(Clone, Copy)]
struct Places<'a> {
    coarse: &'a [Coarse],
    fine: &'a [Fine],
    per_row: usize,
}

impl<'a> Places<'a> {
    /// The codes of a row: all bits of them, or the high ones.
    #[inline(always)]
    fn codes<const ALL: bool>(self, row: usize) -> Codes<'a> {
        let blocks = row * self.per_row..(row + 1) * self.per_row;
        Codes {
            coarse: &self.coarse[blocks.clone()],
            fine: if ALL { &self.fine[blocks] } else { &[] },
        }
    }

    /// The codes of a row to come, which may lie behind the last.
    #[inline(always)]
    fn ahead(self, row: usize) -> CodesAhead<'a> {
        let block = row * self.per_row;
        CodesAhead {
            coarse: Ahead {
                from: self.coarse,
                distance: block * size_of::<Coarse>(),
            },
            fine: Ahead {
                from: self.fine,
                distance: block * size_of::<Fine>(),
            },
        }
    }
}

/// Planes that a strip of rows meets at a time, at most.
const PLANES: usize = 8;

/// Some queries whose planes a strip of rows meets at a time.
struct Group<'a> {
    queries: usize,
    planes: [&'a [Plane]; PLANES],
    count: usize,
}

impl<'a> Group<'a> {
    /// As many of the first of `queries` as fit.
    #[inline(always)]
    fn of(queries: &'a [Query], precision: Precision) -> Group<'a> {
        let mut group = Group {
            queries: 0,
            planes: [&[]; PLANES],
            count: 0,
        };
        for query in queries {
            let bytes = query.reading(precision).bytes;
            if group.count + bytes > PLANES {
                break;
            }
            let planes = query.planes.chunks_exact(query.planes.len() / 2);
            for (to, plane) in group.planes[group.count..]
                .iter_mut()
                .zip(planes)
                .take(bytes)
            {
                *to = plane;
            }
            group.count += bytes;
            group.queries += 1;
        }
        group
    }

    /// The sums of a strip's codes with each plane.
    #[inline(always)]
    fn sums<S: ScreenDot, const ALL: bool>(
        &self,
        s: S,
        places: Places<'_>,
        rows: &[usize; LANES],
        ahead: &[usize; LANES],
    ) -> [[i32; PLANES]; LANES] {
        let mut sums = [[0; PLANES]; LANES];
        let mut first = 0;
        while first < self.count {
            let planes = &self.planes[first..self.count];
            first += if let Some(planes) = planes.first_chunk() {
                add::<S, ALL, PLANES>(s, places, rows, ahead, planes, &mut sums, first)
            } else if let Some(planes) = planes.first_chunk() {
                add::<S, ALL, 4>(s, places, rows, ahead, planes, &mut sums, first)
            } else if let Some(planes) = planes.first_chunk() {
                add::<S, ALL, 2>(s, places, rows, ahead, planes, &mut sums, first)
            } else {
                add::<S, ALL, 1>(s, places, rows, ahead, &[planes[0]], &mut sums, first)
            };
        }
        sums
    }
}

/// Writes the sums of a strip's codes with `P` planes from the `first` on, and returns `P`.
#[inline(always)]
fn add<S: ScreenDot, const ALL: bool, const P: usize>(
    s: S,
    places: Places<'_>,
    rows: &[usize; LANES],
    ahead: &[usize; LANES],
    planes: &[&[Plane]; P],
    sums: &mut [[i32; PLANES]; LANES],
    first: usize,
) -> usize {
    if P <= 2 {
        some::<S, ALL, DOT_ROWS, P>(s, places, rows, ahead, planes, sums, first);
    } else if S::PAIRS {
        some::<S, ALL, 2, P>(s, places, rows, ahead, planes, sums, first);
    } else {
        some::<S, ALL, 1, P>(s, places, rows, ahead, planes, sums, first);
    }
    P
}

/// The same, `R` rows at a time.
#[inline(always)]
fn some<S: ScreenDot, const ALL: bool, const R: usize, const P: usize>(
    s: S,
    places: Places<'_>,
    rows: &[usize; LANES],
    ahead: &[usize; LANES],
    planes: &[&[Plane]; P],
    sums: &mut [[i32; PLANES]; LANES],
    first: usize,
) {
    let rows = rows.as_chunks::<R>().0.iter().zip(ahead.as_chunks::<R>().0);
    for ((rows, ahead), sums) in rows.zip(sums.as_chunks_mut::<R>().0) {
        let rows = rows.map(|row| places.codes::<ALL>(row));
        let ahead = ahead.map(|row| places.ahead(row));
        let products = s.screen::<ALL, R, P>(rows, ahead, *planes);
        for (sums, products) in sums.iter_mut().zip(products) {
            sums[first..first + P].copy_from_slice(&products);
        }
    }
}
