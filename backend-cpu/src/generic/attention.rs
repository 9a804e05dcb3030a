//! Attention of one query head over its keys and values.

use bitnet_kernels::order::{LANES, fold};

use super::math::exp;
use crate::lanes::Lanes;

/// A cached element.
pub(crate) trait Element<L: Lanes>: Copy + Send + Sync + 'static {
    fn load(l: L, x: &[Self; LANES]) -> L::F;
}

impl<L: Lanes> Element<L> for u16 {
    #[inline(always)]
    fn load(l: L, x: &[u16; LANES]) -> L::F {
        l.load_f16(x)
    }
}

impl<L: Lanes> Element<L> for f32 {
    #[inline(always)]
    fn load(l: L, x: &[f32; LANES]) -> L::F {
        l.load(x)
    }
}

/// The keys and values that a query may see.
///
/// Keys lie in tiles of 16 positions, `[tile][head_dim][16]`, so that a score is one chain of fused
/// multiply-adds over the head with keys side by side in the lanes. Values are rows of `stride` elements,
/// a multiple of 16.
#[derive(Clone, Copy)]
pub(crate) struct Visible<'a, E> {
    pub(crate) keys: &'a [E],
    pub(crate) values: &'a [E],
    pub(crate) stride: usize,
    /// Positions, at least 1.
    pub(crate) len: usize,
}

/// Attention of the query `q`, `head_dim` elements, into `out`, `stride` elements. `weights` has room for the
/// positions, rounded up to a multiple of 16.
#[inline(always)]
pub(crate) fn attend<L: Lanes, E: Element<L>>(
    l: L,
    q: &[f32],
    scale: f32,
    round_weights: bool,
    visible: Visible<'_, E>,
    weights: &mut [f32],
    out: &mut [f32],
) {
    let len = visible.len;
    let (tiles, _) = weights[..len.next_multiple_of(LANES)].as_chunks_mut::<LANES>();
    let (keys, _) = visible.keys.as_chunks::<LANES>();
    let scale = l.splat(scale);
    for (tile, keys) in tiles.iter_mut().zip(keys.chunks_exact(q.len())) {
        let mut s = l.splat(0.0);
        for (q, key) in q.iter().zip(keys) {
            s = l.fma(l.splat(*q), E::load(l, key), s);
        }
        l.store(l.mul(s, scale), tile);
    }
    // What lies behind the last position must not take part.
    tiles.as_flattened_mut()[len..].fill(f32::NEG_INFINITY);
    let mut max = l.splat(f32::NEG_INFINITY);
    for tile in tiles.iter() {
        max = l.max(l.load(tile), max);
    }
    let max = l
        .to_array(max)
        .into_iter()
        .fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
    for tile in tiles.iter_mut() {
        l.store(exp(l, l.sub(l.load(tile), l.splat(max))), tile);
    }
    tiles.as_flattened_mut()[len..].fill(0.0);
    let mut sums = l.splat(0.0);
    for tile in tiles.iter() {
        sums = l.add(sums, l.load(tile));
    }
    let mut sum = fold(l.to_array(sums));
    if round_weights {
        let share = l.splat(1.0 / sum);
        for tile in tiles.iter_mut() {
            let mut rounded = [0; LANES];
            l.store_f16(l.mul(l.load(tile), share), &mut rounded);
            l.store(l.load_f16(&rounded), tile);
        }
        sum = 1.0;
    }
    let weights = &tiles.as_flattened()[..len];
    let sum = l.splat(sum);
    for (block, out) in out.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut value = l.splat(0.0);
        for (p, row) in weights
            .iter()
            .zip(visible.values.chunks_exact(visible.stride))
        {
            let (row, _) = row.as_chunks::<LANES>();
            value = l.fma(l.splat(*p), E::load(l, &row[block]), value);
        }
        l.store(l.div(value, sum), out);
    }
}
