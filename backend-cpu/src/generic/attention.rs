//! Attention of query heads over the keys and values that they share.

use std::ops::Range;

use bitnet_kernels::order::{LANES, fold};

use super::encode::largest_lane;
use super::math::exp;
use crate::memory::shared::Settled;
use crate::microkernel::simd::{PREFETCH_DISTANCE, Simd};

/// A cached element.
pub(crate) trait Element<L: Simd>: Copy + Send + Sync + 'static {
    fn load(l: L, x: &[Self; LANES]) -> L::F;
}

impl<L: Simd> Element<L> for u16 {
    #[inline(always)]
    fn load(l: L, x: &[u16; LANES]) -> L::F {
        l.load_f16(x)
    }
}

impl<L: Simd> Element<L> for f32 {
    #[inline(always)]
    fn load(l: L, x: &[f32; LANES]) -> L::F {
        l.load(x)
    }
}

/// Positions of a page of keys and values: whole strips of keys.
pub(crate) const PAGE: usize = 4 * LANES;

/// The keys and values that a query may see, in pages of [`PAGE`] positions.
///
/// Keys lie in strips of 16 positions, `[strip][head_dim][16]`, so that a score is one chain of
/// fused multiply-adds over the head with keys side by side in the lanes. Values are rows of
/// `stride` elements, a multiple of 16.
pub(crate) struct Visible<'a, E> {
    /// From the page of position 0 on.
    pub(crate) pages: Settled<'a, E>,
    /// Where the keys of the head begin in each page.
    pub(crate) keys: usize,
    /// Where its values do.
    pub(crate) values: usize,
    pub(crate) stride: usize,
    /// The first position, where a strip begins.
    pub(crate) start: usize,
    /// Positions from there on that are before the query's window, fewer than 16 and than `len`.
    pub(crate) hidden: usize,
    /// Positions, those before the window among them.
    pub(crate) len: usize,
}

impl<E> Clone for Visible<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E> Copy for Visible<'_, E> {}

impl<'a, E> Visible<'a, E> {
    /// A strip of keys, `[dim][16]`, counted from the first.
    #[inline(always)]
    fn strip(&self, strip: usize, dim: usize) -> &'a [[E; LANES]] {
        let position = self.start + strip * LANES;
        let first = self.keys + position % PAGE * dim;
        let keys = self.pages.read(position / PAGE, first..first + dim * LANES);
        keys.as_chunks().0
    }

    /// The values of positions from the `at`-th on, as many as lie one after another.
    #[inline(always)]
    fn rows(&self, at: usize) -> &'a [E] {
        let position = self.start + at;
        let count = (PAGE - position % PAGE).min(self.len - at);
        let first = self.values + position % PAGE * self.stride;
        let values = first..first + count * self.stride;
        self.pages.read(position / PAGE, values)
    }
}

/// The scores of adjacent query heads that share keys: `q` is `[heads, head_dim]`, `out` `[heads,
/// row]` with rows of the positions, rounded up to a multiple of 16, or longer ones. What lies
/// behind the last position is without meaning.
#[inline(always)]
pub(crate) fn scores<L: Simd, E: Element<L>>(
    l: L,
    q: &[f32],
    heads: usize,
    scale: f32,
    visible: Visible<'_, E>,
    out: &mut [f32],
) {
    let (dim, row) = (q.len() / heads, out.len() / heads);
    let mut head = 0;
    while head < heads {
        let group = HeadGroup {
            q: &q[head * dim..],
            dim,
            scale,
            visible,
        };
        let out = &mut out[head * row..];
        head += match heads - head {
            4.. => group.all_scores::<L, 4>(l, row, out),
            2..=3 => group.all_scores::<L, 2>(l, row, out),
            _ => group.all_scores::<L, 1>(l, row, out),
        };
    }
}

/// The values of adjacent query heads that share them, weighted by `[heads, row]` weights, over the
/// sums of the weights, one for each head: some blocks of 16 elements of `out`, `[heads, stride]`.
#[inline(always)]
pub(crate) fn values<L: Simd, E: Element<L>>(
    l: L,
    weights: &[f32],
    sums: &[f32],
    visible: Visible<'_, E>,
    blocks: Range<usize>,
    out: &mut [f32],
) {
    let (heads, row) = (sums.len(), weights.len() / sums.len());
    let mut head = 0;
    while head < heads {
        let (weights, sums) = (&weights[head * row..], &sums[head..]);
        let (blocks, out) = (blocks.clone(), &mut out[head * visible.stride..]);
        head += match heads - head {
            4.. => all_weighted::<L, E, 4>(l, weights, row, sums, visible, blocks, out),
            2..=3 => all_weighted::<L, E, 2>(l, weights, row, sums, visible, blocks, out),
            _ => all_weighted::<L, E, 1>(l, weights, row, sums, visible, blocks, out),
        };
    }
}

/// Some heads side by side, so that a key is read once for all of them.
struct HeadGroup<'a, E> {
    /// `[heads, dim]`.
    q: &'a [f32],
    dim: usize,
    scale: f32,
    visible: Visible<'a, E>,
}

impl<E> HeadGroup<'_, E> {
    /// The scores that the first `G` heads have for all positions.
    #[inline(always)]
    fn all_scores<L: Simd, const G: usize>(&self, l: L, row: usize, out: &mut [f32]) -> usize
    where
        E: Element<L>,
    {
        let strips = self.visible.len.div_ceil(LANES);
        let mut strip = 0;
        while strip < strips {
            strip += match (L::CHAINS / G, strips - strip) {
                (8.., 8..) => self.scores::<L, G, 8>(l, strip, row, out),
                (4.., 4..) => self.scores::<L, G, 4>(l, strip, row, out),
                (2.., 2..) => self.scores::<L, G, 2>(l, strip, row, out),
                _ => self.scores::<L, G, 1>(l, strip, row, out),
            };
        }
        G
    }

    /// The scores of `N` strips from `strip` on.
    #[inline(always)]
    fn scores<L: Simd, const G: usize, const N: usize>(
        &self,
        l: L,
        strip: usize,
        row: usize,
        out: &mut [f32],
    ) -> usize
    where
        E: Element<L>,
    {
        let dim = self.dim;
        let keys: [&[[E; LANES]]; N] = std::array::from_fn(|n| self.visible.strip(strip + n, dim));
        let q: [&[f32]; G] = std::array::from_fn(|g| &self.q[g * dim..(g + 1) * dim]);
        let mut sums = [[l.splat(0.0); N]; G];
        for d in 0..dim {
            let mut loaded = [l.splat(0.0); N];
            for (loaded, keys) in loaded.iter_mut().zip(keys) {
                l.prefetch(&keys[d], PREFETCH_DISTANCE);
                *loaded = E::load(l, &keys[d]);
            }
            for (sums, q) in sums.iter_mut().zip(q) {
                let q = l.splat(q[d]);
                for (sum, key) in sums.iter_mut().zip(loaded) {
                    *sum = l.fma(q, key, *sum);
                }
            }
        }
        let scale = l.splat(self.scale);
        for (sums, out) in sums.into_iter().zip(out.chunks_mut(row)) {
            let (out, _) = out[strip * LANES..].as_chunks_mut::<LANES>();
            for (sum, out) in sums.into_iter().zip(out) {
                l.store(l.mul(sum, scale), out);
            }
        }
        N
    }
}

/// [`values`] of the first `G` heads.
#[inline(always)]
fn all_weighted<L: Simd, E: Element<L>, const G: usize>(
    l: L,
    weights: &[f32],
    row: usize,
    sums: &[f32],
    visible: Visible<'_, E>,
    blocks: Range<usize>,
    out: &mut [f32],
) -> usize {
    let Visible { hidden, len, .. } = visible;
    let weights = std::array::from_fn(|g| &weights[g * row..][hidden..len]);
    let sums = std::array::from_fn(|g| l.splat(sums[g]));
    let mut block = blocks.start;
    while block < blocks.end {
        let left = blocks.end - block;
        // Registers for sums: sixteen of them where there are thirty-two.
        block += match (L::CHAINS * 2 / G, left) {
            (16, 8..) | (8, 8..) if L::CHAINS == 8 => {
                weighted::<L, E, G, 8>(l, weights, sums, visible, block, out)
            }
            (4.., 4..) => weighted::<L, E, G, 4>(l, weights, sums, visible, block, out),
            (2.., 2..) => weighted::<L, E, G, 2>(l, weights, sums, visible, block, out),
            _ => weighted::<L, E, G, 1>(l, weights, sums, visible, block, out),
        };
    }
    G
}

/// `N` blocks of 16 elements of the weighted values, from `block` on, over the sums.
#[inline(always)]
fn weighted<L: Simd, E: Element<L>, const G: usize, const N: usize>(
    l: L,
    weights: [&[f32]; G],
    sums: [L::F; G],
    visible: Visible<'_, E>,
    block: usize,
    out: &mut [f32],
) -> usize {
    let Visible {
        stride,
        hidden,
        len,
        ..
    } = visible;
    let mut results = [[l.splat(0.0); N]; G];
    let mut at = 0;
    while at < len - hidden {
        let rows = visible.rows(hidden + at).chunks_exact(stride);
        let next = at + rows.len();
        for (i, row) in (at..next).zip(rows) {
            let (row, _) = row[block * LANES..(block + N) * LANES].as_chunks::<LANES>();
            let mut loaded = [l.splat(0.0); N];
            for (loaded, row) in loaded.iter_mut().zip(row) {
                l.prefetch(row, PREFETCH_DISTANCE);
                *loaded = E::load(l, row);
            }
            for (results, weights) in results.iter_mut().zip(weights) {
                let p = l.splat(weights[i]);
                for (result, value) in results.iter_mut().zip(loaded) {
                    *result = l.fma(p, value, *result);
                }
            }
        }
        at = next;
    }
    let heads = results
        .into_iter()
        .zip(sums)
        .zip(out.chunks_exact_mut(stride));
    for ((results, sum), out) in heads {
        let (out, _) = out[block * LANES..].as_chunks_mut::<LANES>();
        for (result, out) in results.into_iter().zip(out) {
            l.store(l.div(result, sum), out);
        }
    }
    N
}

/// Turns the scores of the `visible` positions into weights, which are as many, rounded up to a
/// multiple of 16, and returns what weighted values are
/// to be divided by: NaN where a score is not finite.
#[inline(always)]
pub(crate) fn softmax<L: Simd>(
    l: L,
    scores: &mut [f32],
    visible: Range<usize>,
    round_weights: bool,
) -> f32 {
    // What lies around the visible positions must not take part: no score that is finite is below
    // it.
    scores[..visible.start].fill(f32::MIN);
    scores[visible.end..].fill(f32::MIN);
    let (strips, _) = scores.as_chunks_mut::<LANES>();
    let mut max = l.splat(f32::NEG_INFINITY);
    let mut magnitude = l.splat(0.0);
    for strip in strips.iter() {
        let scores = l.load(strip);
        max = l.max(scores, max);
        magnitude = l.max_magnitude(l.abs(scores), magnitude);
    }
    let finite = largest_lane(l, magnitude).is_finite();
    let max = l
        .to_array(max)
        .into_iter()
        .fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    for strip in strips.iter_mut() {
        l.store(exp(l, l.sub(l.load(strip), l.splat(max))), strip);
    }
    strips.as_flattened_mut()[..visible.start].fill(0.0);
    strips.as_flattened_mut()[visible.end..].fill(0.0);
    let mut sums = l.splat(0.0);
    for strip in strips.iter() {
        sums = l.add(sums, l.load(strip));
    }
    let sum = if finite {
        fold(l.to_array(sums))
    } else {
        f32::NAN
    };
    if !round_weights {
        return sum;
    }
    let share = l.splat(1.0 / sum);
    for strip in strips.iter_mut() {
        let mut rounded = [0; LANES];
        l.store_f16(l.mul(l.load(strip), share), &mut rounded);
        l.store(l.load_f16(&rounded), strip);
    }
    1.0
}
