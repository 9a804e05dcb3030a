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
    let (groups, rest) = tiles.as_chunks_mut::<CHAINS>();
    let (in_groups, in_rest) = keys.split_at(groups.len() * CHAINS * q.len());
    for (group, keys) in groups
        .iter_mut()
        .zip(in_groups.chunks_exact(CHAINS * q.len()))
    {
        scores(l, q, scale, keys, group);
    }
    for (tile, keys) in rest.iter_mut().zip(in_rest.chunks_exact(q.len())) {
        scores(l, q, scale, keys, std::array::from_mut(tile));
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
    let (blocks, _) = out.as_chunks_mut::<LANES>();
    let (groups, rest) = blocks.as_chunks_mut::<CHAINS>();
    let first_of_rest = groups.len() * CHAINS;
    for (group, out) in groups.iter_mut().enumerate() {
        weighted(l, weights, &visible, group * CHAINS, sum, out);
    }
    for (block, out) in rest.iter_mut().enumerate() {
        let out = std::array::from_mut(out);
        weighted(l, weights, &visible, first_of_rest + block, sum, out);
    }
}

/// Sums under way at once, so that none waits for its last addition: a fused multiply-add takes four cycles.
const CHAINS: usize = 4;

/// The scores of `N` tiles of keys, `[N][head_dim][16]`.
#[inline(always)]
fn scores<L: Lanes, E: Element<L>, const N: usize>(
    l: L,
    q: &[f32],
    scale: L::F,
    keys: &[[E; LANES]],
    out: &mut [[f32; LANES]; N],
) {
    let tiles: [&[[E; LANES]]; N] =
        std::array::from_fn(|tile| &keys[tile * q.len()..(tile + 1) * q.len()]);
    let mut sums = [l.splat(0.0); N];
    for (d, q) in q.iter().enumerate() {
        let q = l.splat(*q);
        for (sum, tile) in sums.iter_mut().zip(tiles) {
            *sum = l.fma(q, E::load(l, &tile[d]), *sum);
        }
    }
    for (sum, out) in sums.into_iter().zip(out) {
        l.store(l.mul(sum, scale), out);
    }
}

/// `N` blocks of 16 elements of the weighted values, from `block` on, over `sum`.
#[inline(always)]
fn weighted<L: Lanes, E: Element<L>, const N: usize>(
    l: L,
    weights: &[f32],
    visible: &Visible<'_, E>,
    block: usize,
    sum: L::F,
    out: &mut [[f32; LANES]; N],
) {
    let mut values = [l.splat(0.0); N];
    for (p, row) in weights
        .iter()
        .zip(visible.values.chunks_exact(visible.stride))
    {
        let (row, _) = row[block * LANES..(block + N) * LANES].as_chunks::<LANES>();
        let p = l.splat(*p);
        for (value, x) in values.iter_mut().zip(row) {
            *value = l.fma(p, E::load(l, x), *value);
        }
    }
    for (value, out) in values.into_iter().zip(out) {
        l.store(l.div(value, sum), out);
    }
}
