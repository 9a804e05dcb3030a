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

/// Attention of adjacent query heads that share keys and values. `q` is `[heads, head_dim]`, `out`
/// `[heads, stride]`; `weights` holds as many rows of the positions, rounded up to a
/// multiple of 16.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the parts of attention")]
pub(crate) fn attend<L: Simd, E: Element<L>>(
    l: L,
    q: &[f32],
    heads: usize,
    scale: f32,
    round_weights: bool,
    visible: Visible<'_, E>,
    weights: &mut [f32],
    out: &mut [f32],
) {
    let dim = q.len() / heads;
    let mut head = 0;
    while head < heads {
        let group = HeadGroup {
            q: &q[head * dim..],
            dim,
            scale,
            round_weights,
            visible,
        };
        let out = &mut out[head * visible.stride..];
        head += match heads - head {
            4.. => group.run::<L, 4>(l, weights, out),
            2..=3 => group.run::<L, 2>(l, weights, out),
            _ => group.run::<L, 1>(l, weights, out),
        };
    }
}

/// Some heads side by side, so that a key or a value is read once for all of them.
struct HeadGroup<'a, E> {
    /// `[heads, dim]`.
    q: &'a [f32],
    dim: usize,
    scale: f32,
    round_weights: bool,
    visible: Visible<'a, E>,
}

impl<E> HeadGroup<'_, E> {
    /// Attention of the first `G` heads.
    #[inline(always)]
    fn run<L: Simd, const G: usize>(&self, l: L, weights: &mut [f32], out: &mut [f32]) -> usize
    where
        E: Element<L>,
    {
        let len = self.visible.len;
        let padded = len.next_multiple_of(LANES);
        let weights = &mut weights[..G * padded];
        self.all_scores::<L, G>(l, weights);
        let mut sums = [l.splat(1.0); G];
        for (weights, sum) in weights.chunks_exact_mut(padded).zip(&mut sums) {
            *sum = l.splat(softmax(
                l,
                weights,
                self.visible.hidden..len,
                self.round_weights,
            ));
        }
        let blocks = self.visible.stride / LANES;
        let mut block = 0;
        while block < blocks {
            let left = blocks - block;
            // Registers for sums: sixteen of them where there are thirty-two.
            block += match (L::CHAINS * 2 / G, left) {
                (16, 8..) | (8, 8..) if L::CHAINS == 8 => {
                    self.weighted::<L, G, 8>(l, weights, block, sums, out)
                }
                (4.., 4..) => self.weighted::<L, G, 4>(l, weights, block, sums, out),
                (2.., 2..) => self.weighted::<L, G, 2>(l, weights, block, sums, out),
                _ => self.weighted::<L, G, 1>(l, weights, block, sums, out),
            };
        }
        G
    }

    /// The scores of all positions, `[G, padded]`; what lies behind the last is without meaning.
    #[inline(always)]
    fn all_scores<L: Simd, const G: usize>(&self, l: L, out: &mut [f32])
    where
        E: Element<L>,
    {
        let strips = self.visible.len.div_ceil(LANES);
        let mut strip = 0;
        while strip < strips {
            strip += match (L::CHAINS / G, strips - strip) {
                (8.., 8..) => self.scores::<L, G, 8>(l, strip, out),
                (4.., 4..) => self.scores::<L, G, 4>(l, strip, out),
                (2.., 2..) => self.scores::<L, G, 2>(l, strip, out),
                _ => self.scores::<L, G, 1>(l, strip, out),
            };
        }
    }

    /// The scores of `N` strips from `strip` on.
    #[inline(always)]
    fn scores<L: Simd, const G: usize, const N: usize>(
        &self,
        l: L,
        strip: usize,
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
        let padded = out.len() / G;
        for (sums, out) in sums.into_iter().zip(out.chunks_exact_mut(padded)) {
            let (out, _) = out[strip * LANES..].as_chunks_mut::<LANES>();
            for (sum, out) in sums.into_iter().zip(out) {
                l.store(l.mul(sum, scale), out);
            }
        }
        N
    }

    /// `N` blocks of 16 elements of the weighted values, from `block` on, over the sums.
    #[inline(always)]
    fn weighted<L: Simd, const G: usize, const N: usize>(
        &self,
        l: L,
        weights: &[f32],
        block: usize,
        sums: [L::F; G],
        out: &mut [f32],
    ) -> usize
    where
        E: Element<L>,
    {
        let Visible {
            stride,
            hidden,
            len,
            ..
        } = self.visible;
        let padded = weights.len() / G;
        let weights: [&[f32]; G] = std::array::from_fn(|g| &weights[g * padded..][hidden..len]);
        let mut results = [[l.splat(0.0); N]; G];
        let mut at = 0;
        while at < len - hidden {
            let rows = self.visible.rows(hidden + at).chunks_exact(stride);
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
}

/// Turns the scores of the `visible` positions into weights, and returns what weighted values are
/// to be divided by: NaN where a score is not finite.
#[inline(always)]
fn softmax<L: Simd>(l: L, scores: &mut [f32], visible: Range<usize>, round_weights: bool) -> f32 {
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
