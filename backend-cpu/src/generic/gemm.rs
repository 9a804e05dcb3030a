//! Ternary matrix products for several tokens: `out[t][r] = weights[r] . x[t]`.
//!
//! ```text
//! for each panel of PANEL_ROWS rows                     (the piece of one thread)
//!     pack it: rows transposed, 16 to a strip            40 KB for 2560 weights a row
//!     for each part of at most NR tokens                 their activations stay in the L1 cache
//!         for each register tile of MR = 16 * STRIPS rows
//!             acc[NR][MR] = -sum(x[t])                   makes codes 0, 1, 2 weights -1, 0, 1
//!             for each group of 128 weights              K
//!                 for each word (4 bytes of each row)
//!                     for each of the 4 codes of a byte
//!                         codes[MR] = next two bits of each byte
//!                         for each token
//!                             acc[t][MR] += dot4(codes[MR], broadcast(4 activations))
//!                 at the end of a scaled block: floats[t][MR] = fma(d_w * d_x, acc, floats)
//!             write floats, or acc / x_scale * tensor_scale, to out
//!     meanwhile prefetch the rows of the next panel
//! ```
//!
//! An instruction set's [`Microkernel`] says what a step is, and how large MR and NR are.

use std::ops::Range;

use bitnet_kernels::format::tq2_0;
use bitnet_kernels::order::LANES;

use crate::microkernel::coded::RUN_WORDS;
use crate::microkernel::gemm::{
    GROUP, GROUP_BYTES, GROUP_STEPS, GROUP_WORDS, GemmArgs, Microkernel, PackedWord, TernaryLayout,
    TileArgs,
};
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::runs::RUN_BYTES;
use crate::microkernel::trits::BlockCodes;

/// Rows of a panel.
pub(crate) const PANEL_ROWS: usize = 64;

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Packed rows of a matrix: scratch memory of a thread, kept from product to product.
#[derive(Default)]
pub(crate) struct Panel {
    /// `[tiles, groups, strips]` groups; of a format of codes, `[tiles, runs, strips]` runs.
    pub(super) words: Vec<PackedWord>,
    /// `[tiles, blocks, strips]`.
    pub(super) scales: Vec<[u16; LANES]>,
    /// Activations of some tokens, in another order.
    pub(super) activations: Vec<i8>,
}

impl Panel {
    /// Grows to the capacity for `rows` rows, a word to four bytes, and their scales.
    pub(super) fn reserve(&mut self, rows: usize, words: usize, scales: usize) {
        // Any tile's strips divide eight.
        let strips = rows.div_ceil(LANES).next_multiple_of(8);
        if self.words.len() < strips * words {
            self.words.resize(strips * words, PackedWord::ZERO);
        }
        if self.scales.len() < strips * scales {
            self.scales.resize(strips * scales, [0; LANES]);
        }
    }

    /// Grows to the capacity for rows of `cols` weights of two bits with a scale for each 64.
    pub(crate) fn reserve_for(&mut self, cols: usize) {
        self.reserve(
            PANEL_ROWS,
            cols.div_ceil(GROUP) * GROUP_WORDS,
            cols.div_ceil(64),
        );
    }

    /// Grows to the capacity for `count` activations.
    pub(crate) fn reserve_activations(&mut self, count: usize) {
        if self.activations.len() < count {
            self.activations.resize(count, 0);
        }
    }

    /// Packs `rows`. The rows that fill up the last tile repeat the last one.
    #[inline(always)]
    fn pack<M: Microkernel, F: TernaryLayout>(
        &mut self,
        k: M,
        m: &MatrixRef<'_>,
        rows: Range<usize>,
        groups: usize,
    ) {
        let strips = rows.len().div_ceil(LANES);
        let words = self.words.as_chunks_mut::<GROUP_WORDS>().0;
        for strip in 0..strips.next_multiple_of(M::STRIPS) {
            let strip_rows = strip_rows(m, &rows, strip);
            let (tile, strip) = (strip / M::STRIPS, strip % M::STRIPS);
            let per_block = F::GROUPS_PER_SCALE.unwrap_or(1);
            for i in 0..groups / per_block {
                let mut unpacked = [[0; tq2_0::CODE_BYTES]; LANES];
                let bytes = block_groups::<M, F>(k, strip_rows, i, &mut unpacked);
                for part in 0..per_block {
                    let at = (tile * groups + i * per_block + part) * M::STRIPS + strip;
                    let runs = words[at].as_chunks_mut::<RUN_WORDS>().0.iter_mut();
                    for (half, words) in runs.enumerate() {
                        let transposed = transposed(k, &bytes, part, half);
                        for (word, bytes) in words.iter_mut().zip(transposed) {
                            k.store_bytes(bytes, word);
                        }
                    }
                }
            }
            if let Some(per_block) = F::GROUPS_PER_SCALE {
                let blocks = groups / per_block;
                for block in 0..blocks {
                    let at = (tile * blocks + block) * M::STRIPS + strip;
                    self.scales[at] = block_scales::<F>(strip_rows, block);
                }
            }
        }
    }
}

/// The rows of a strip of `rows`. Those that fill up the last one repeat the last row.
#[inline(always)]
pub(crate) fn strip_rows<'a>(
    m: &MatrixRef<'a>,
    rows: &Range<usize>,
    strip: usize,
) -> [&'a [u8]; LANES] {
    let first = rows.start + strip * LANES;
    std::array::from_fn(|r| m.row((first + r).min(rows.end - 1)))
}

/// The groups of the `i`th block of each row, or its `i`th group where there are no blocks.
#[inline(always)]
pub(crate) fn block_groups<'a, M: Microkernel, F: TernaryLayout>(
    k: M,
    rows: [&'a [u8]; LANES],
    i: usize,
    unpacked: &'a mut [BlockCodes; LANES],
) -> [&'a [[u8; GROUP_BYTES]]; LANES] {
    let mut groups: [&[[u8; GROUP_BYTES]]; LANES] = [&[]; LANES];
    for ((row, unpacked), groups) in rows.into_iter().zip(unpacked).zip(&mut groups) {
        *groups = F::bytes(k, row, i, unpacked).as_chunks().0;
    }
    groups
}

/// The words of half a group of each row.
#[inline(always)]
pub(crate) fn transposed<M: Microkernel>(
    k: M,
    groups: &[&[[u8; GROUP_BYTES]]; LANES],
    group: usize,
    half: usize,
) -> [M::Bytes; RUN_WORDS] {
    // A loop: `from_fn` might be a call for each group.
    let mut rows = [&[0; RUN_BYTES]; LANES];
    for (row, groups) in rows.iter_mut().zip(groups) {
        *row = &groups[group].as_chunks::<RUN_BYTES>().0[half];
    }
    k.transpose(rows)
}

/// The scale of a block of each row.
#[inline(always)]
pub(crate) fn block_scales<F: TernaryLayout>(rows: [&[u8]; LANES], block: usize) -> [u16; LANES] {
    let mut scales = [0; LANES];
    for (scale, row) in scales.iter_mut().zip(rows) {
        *scale = F::scale(row, block);
    }
    scales
}

/// `rows` of `m` against `tokens` of `x` into `out`, `[tokens, rows]`.
#[inline(always)]
pub(crate) fn gemm<M: Microkernel, F: TernaryLayout>(
    k: M,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    panel: &mut Panel,
    out: &mut [f32],
) {
    let args = GemmArgs {
        m,
        rows,
        x,
        tokens,
        out,
    };
    let Some(args) = k.whole_gemm::<F>(args, &mut panel.words) else {
        return;
    };
    let GemmArgs {
        m,
        rows,
        x,
        tokens,
        out,
    } = args;
    panel.reserve_for(x.width);
    for first in rows.clone().step_by(PANEL_ROWS) {
        let end = rows.end.min(first + PANEL_ROWS);
        panel.pack::<M, F>(k, m, first..end, x.width / GROUP);
        let next_rows = following(m, end);
        let out = &mut out[first - rows.start..];
        multiply::<M, F>(
            k,
            m.scale,
            panel,
            end - first,
            x,
            tokens.clone(),
            next_rows,
            out,
            rows.len(),
        );
    }
}

/// The rows that follow a panel which ends before `row`: most often this thread's next piece.
pub(super) fn following<'a>(m: &MatrixRef<'a>, row: usize) -> &'a [u8] {
    let end = (m.bytes.len() / m.stride).min(row + PANEL_ROWS);
    &m.bytes[row * m.stride..end * m.stride]
}

/// Tokens in parts of nearly the same size, `most` at most. A part's activations stay in the first
/// cache while the rows pass by.
pub(super) fn parts(count: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = count.div_ceil(most);
    (0..parts).map(move |part| count * part / parts..count * (part + 1) / parts)
}

/// The tiles of some rows: the number of each, its rows, and what of `next_rows`, which becomes
/// shorter, is to be prefetched meanwhile.
pub(super) fn tiles<'a>(
    rows: usize,
    tile_rows: usize,
    next_rows: &mut &'a [u8],
) -> impl Iterator<Item = (usize, Range<usize>, &'a [u8])> {
    let count = rows.div_ceil(tile_rows);
    (0..count).map(move |tile| {
        let share = next_rows.len().div_ceil(count - tile);
        let (now, later) = next_rows.split_at(share);
        *next_rows = later;
        let first = tile * tile_rows;
        (tile, first..rows.min(first + tile_rows), now)
    })
}

/// The first `rows` rows of a panel against `tokens` of `x` into `out`, tokens `stride` apart.
/// Meanwhile `next_rows` are prefetched.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the parts of a matrix product")]
fn multiply<M: Microkernel, F: TernaryLayout>(
    k: M,
    scale: f32,
    panel: &Panel,
    rows: usize,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    mut next_rows: &[u8],
    out: &mut [f32],
    stride: usize,
) {
    let groups = x.width / GROUP;
    let tile_rows = M::STRIPS * LANES;
    let tile_words = groups * GROUP_WORDS * M::STRIPS;
    let tile_scales = F::GROUPS_PER_SCALE.map_or(0, |per_block| groups / per_block * M::STRIPS);
    for part in parts(tokens.len(), M::NR) {
        for (tile, tile_rows, prefetched) in tiles(rows, tile_rows, &mut next_rows) {
            k.tile::<F>(TileArgs {
                words: &panel.words[tile * tile_words..][..tile_words],
                scales: &panel.scales[tile * tile_scales..][..tile_scales],
                scale,
                x,
                tokens: tokens.start + part.start..tokens.start + part.end,
                prefetched,
                out: &mut out[part.start * stride + tile_rows.start..],
                rows: tile_rows.len(),
                stride,
            });
        }
    }
}

/// A tile of `S` strips by as many tokens as there are, `T` at most.
#[inline(always)]
pub(crate) fn tile<M: Microkernel, F: TernaryLayout, const S: usize, const T: usize>(
    k: M,
    args: TileArgs<'_>,
) {
    match args.tokens.len().min(T) {
        1 => tile_of::<M, F, S, 1>(k, args),
        2 => tile_of::<M, F, S, 2>(k, args),
        3 => tile_of::<M, F, S, 3>(k, args),
        4 => tile_of::<M, F, S, 4>(k, args),
        5 => tile_of::<M, F, S, 5>(k, args),
        6 => tile_of::<M, F, S, 6>(k, args),
        7 => tile_of::<M, F, S, 7>(k, args),
        8 => tile_of::<M, F, S, 8>(k, args),
        9 => tile_of::<M, F, S, 9>(k, args),
        10 => tile_of::<M, F, S, 10>(k, args),
        11 => tile_of::<M, F, S, 11>(k, args),
        12 => tile_of::<M, F, S, 12>(k, args),
        _ => {}
    }
}

#[inline(always)]
fn tile_of<M: Microkernel, F: TernaryLayout, const S: usize, const T: usize>(
    k: M,
    args: TileArgs<'_>,
) {
    let token = |t: usize| args.tokens.start + t;
    let (groups, _) = args.words.as_chunks::<GROUP_WORDS>();
    let (words, _) = groups.as_chunks::<S>();
    let (scales, _) = args.scales.as_chunks::<S>();
    let q: [&[[[i8; 4]; GROUP_STEPS]]; T] = std::array::from_fn(|t| {
        let steps = args.x.q(token(t)).as_chunks::<4>().0;
        &steps.as_chunks::<GROUP_STEPS>().0[..words.len()]
    });
    let mut floats = [[k.splat(0.0); S]; T];
    let block_len = F::GROUPS_PER_SCALE.unwrap_or(words.len());
    let prefetch_step = args.prefetched.len().div_ceil(words.len().max(1));
    for (block, words) in words.chunks_exact(block_len).enumerate() {
        let mut sums = [[k.splat_i32(0); S]; T];
        for (t, sums) in sums.iter_mut().enumerate() {
            *sums = [k.splat_i32(-args.x.sums(token(t))[block]); S];
        }
        for (i, words) in words.iter().enumerate() {
            let group = block * block_len + i;
            for at in (group * prefetch_step..(group + 1) * prefetch_step).step_by(LINE) {
                k.prefetch(args.prefetched, at);
            }
            let q: [&[[i8; 4]; GROUP_STEPS]; T] = std::array::from_fn(|t| &q[t][group]);
            k.add_group::<F, S, T>(words, q, &mut sums);
        }
        for (t, (floats, sums)) in floats.iter_mut().zip(sums).enumerate() {
            let scale = k.splat(args.x.scales(token(t))[block]);
            for (s, (float, sums)) in floats.iter_mut().zip(sums).enumerate() {
                let sums = k.to_f32(sums);
                *float = if F::GROUPS_PER_SCALE.is_some() {
                    k.fma(k.mul(k.load_f16(&scales[block][s]), scale), sums, *float)
                } else {
                    k.mul(k.div(sums, scale), k.splat(args.scale))
                };
            }
        }
    }
    store(k, floats, args);
}

/// Writes the results of a tile.
#[inline(always)]
pub(super) fn store<M: Microkernel, const S: usize, const T: usize>(
    k: M,
    floats: [[M::F; S]; T],
    args: TileArgs<'_>,
) {
    for (floats, out) in floats.into_iter().zip(args.out.chunks_mut(args.stride)) {
        store_rows(k, floats, &mut out[..args.rows]);
    }
}

/// Writes the results of a token: of `S` strips, as many rows as there are in `out`.
#[inline(always)]
pub(crate) fn store_rows<M: Microkernel, const S: usize>(k: M, floats: [M::F; S], out: &mut [f32]) {
    let (strips, tail) = out.as_chunks_mut::<LANES>();
    for (s, float) in floats.into_iter().enumerate() {
        let float = k.finite_or_nan(float);
        if let Some(strip) = strips.get_mut(s) {
            k.store(float, strip);
        } else if s == strips.len() {
            tail.copy_from_slice(&k.to_array(float)[..tail.len()]);
        }
    }
}
