//! Products of matrices of codes of 1, 2 or 4 bits with activations of `Q8_0`, for one token and
//! for several.
//!
//! Sixteen rows stand side by side in the SIMD lanes, as in [`super::gemm`]: a step multiplies a
//! code of each of four bytes of every row with four activations. Every 32 activations the integers
//! become floats, times the scale of the activations, and every block times that of the weights, so
//! that nothing is ever folded across lanes.
//!
//! With one token, rows are transposed in registers as they pass by; with several they are packed
//! in a panel first.

use std::ops::Range;

use bitnet_kernels::order::LANES;

use super::gemm::{LINE, PANEL_ROWS, Panel, following, parts, store, tiles};
use super::streams::Streams;
use crate::microkernel::coded::{
    CodeLayout, RUN_WORDS, STEPS, Steps, meaning, per_byte, pieces_per_run,
};
use crate::microkernel::dot::DOT_ROWS;
use crate::microkernel::gemm::{Microkernel, TileArgs};
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::runs::{RUN_BYTES, Runs};

/// The integers of a piece, for `S` strips and `T` tokens: the words of each strip, the steps of
/// each token, and the sum of its activations.
#[inline(always)]
fn integers<M: Microkernel, const BITS: usize, const S: usize, const T: usize>(
    k: M,
    words: [[M::Bytes; BITS]; S],
    q: [&Steps; T],
    sums: [i32; T],
) -> [[M::F; S]; T] {
    let (step, offset) = meaning(BITS);
    // Codes of one bit are doubled in the end.
    let start = |t: usize| if step == 1 { -offset * sums[t] } else { 0 };
    // A lone sum would wait for each of its additions: it is made in two parts.
    let chains = if S * T == 1 { 2 } else { 1 };
    let zero = k.splat_i32(0);
    let mut starts = [zero; T];
    let mut group = [[[k.begin_group(zero); S]; T]; 2];
    for t in 0..T {
        starts[t] = k.splat_i32(start(t));
        group[0][t] = [k.begin_group(starts[t]); S];
    }
    for word in 0..BITS {
        let mut bytes = [words[0][word]; S];
        for s in 1..S {
            bytes[s] = words[s][word];
        }
        for place in 0..per_byte(BITS) {
            let mut codes = bytes;
            for s in 0..S {
                codes[s] = k.low_codes::<BITS>(bytes[s]);
                bytes[s] = k.shift_codes::<BITS>(bytes[s]);
            }
            for t in 0..T {
                let q = k.broadcast(&q[t][word * per_byte(BITS) + place]);
                for s in 0..S {
                    let group = &mut group[place % chains][t][s];
                    *group = k.multiply_add(*group, codes[s], q);
                }
            }
        }
    }
    let mut out = [[k.splat(0.0); S]; T];
    for t in 0..T {
        for s in 0..S {
            // Exact here and below: the integers are small.
            out[t][s] = k.to_f32(k.end_group(starts[t], group[0][t][s]));
            if chains == 2 {
                out[t][s] = k.add(out[t][s], k.to_f32(k.end_group(zero, group[1][t][s])));
            }
            if step == 2 {
                out[t][s] = k.fma(k.splat(2.0), out[t][s], k.splat(-sums[t] as f32));
            }
        }
    }
    out
}

/// The words of the `i`th run of sixteen rows.
#[inline(always)]
fn transposed<M: Microkernel>(
    k: M,
    runs: &[&[[u8; RUN_BYTES]]; LANES],
    i: usize,
) -> [M::Bytes; RUN_WORDS] {
    // A loop: `map` of an array would be a call for each block.
    let mut rows = [&runs[0][i]; LANES];
    for (row, runs) in rows.iter_mut().zip(runs) {
        *row = &runs[i];
    }
    k.transpose(rows)
}

/// Activations of a token in the order of the steps.
#[inline(always)]
fn reorder<M: Microkernel, F: CodeLayout<BITS>, const BITS: usize>(
    k: M,
    from: &[i8],
    to: &mut [i8],
) {
    let to = to.as_chunks_mut().0;
    for (from, to) in from.as_chunks().0.iter().zip(to) {
        k.reorder(from, &F::ORDER, to);
    }
}

/// `rows` of `m` against one token, or several in turn, into `out`, `[tokens, rows]`.
#[inline(always)]
pub(crate) fn gemv<M: Microkernel, F: CodeLayout<BITS>, const BITS: usize>(
    k: M,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    panel: &mut Panel,
    out: &mut [f32],
) {
    let (width, streams) = (rows.len(), Streams::new(&rows));
    panel.reserve_activations(x.width);
    let q = &mut panel.activations[..x.width];
    for (token, out) in tokens.zip(out.chunks_mut(width.max(1))) {
        reorder::<M, F, BITS>(k, x.q(token), q);
        let pieces = q.as_chunks::<4>().0.as_chunks::<STEPS>().0;
        for strip in streams.strips() {
            let floats = strip_of::<M, F, BITS>(
                k,
                streams.rows(strip, |row| F::blocks(m.row(row))),
                DOT_ROWS * m.stride,
                pieces,
                x.scales(token),
                x.sums(token),
            );
            streams.put(strip, k.to_array(k.finite_or_nan(floats)), out);
        }
    }
}

/// Sixteen rows against one token. Meanwhile what lies `ahead` bytes further on in each stream is
/// prefetched.
#[inline(always)]
fn strip_of<M: Microkernel, F: CodeLayout<BITS>, const BITS: usize>(
    k: M,
    rows: [&[F::Block]; LANES],
    ahead: usize,
    q: &[Steps],
    scales: &[f32],
    sums: &[i32],
) -> M::F {
    let blocks = rows[0].len();
    let per_block = F::RUNS * pieces_per_run(BITS);
    for row in &rows {
        assert_eq!(row.len(), blocks);
    }
    let q = &q[..blocks * per_block];
    let (scales, sums) = (&scales[..q.len()], &sums[..q.len()]);
    // Blocks in a cache line: its bytes are asked for once.
    let per_line = (LINE / size_of::<F::Block>()).max(1);
    let mut floats = k.splat(0.0);
    for i in 0..blocks {
        if i % per_line == 0 {
            for row in rows {
                k.prefetch(&row[i..], ahead);
            }
        }
        let mut halves = [0; LANES];
        for (half, row) in halves.iter_mut().zip(rows) {
            *half = F::scale(&row[i]);
        }
        let scale = k.load_f16(&halves);
        let mut unpacked: [Runs; LANES] = [[[0; _]; _]; LANES];
        let mut runs = [&[][..]; LANES];
        for ((runs, row), unpacked) in runs.iter_mut().zip(rows).zip(&mut unpacked) {
            *runs = F::runs(k, &row[i], unpacked);
        }
        let mut inner = k.splat(0.0);
        for run in 0..F::RUNS {
            let words = transposed(k, &runs, run);
            let words = words.as_chunks::<BITS>().0;
            for (piece, words) in words.iter().enumerate() {
                let at = i * per_block + run * pieces_per_run(BITS) + piece;
                let [[integers]] = integers::<M, BITS, 1, 1>(k, [*words], [&q[at]], [sums[at]]);
                let d = k.splat(scales[at]);
                if per_block == 1 {
                    floats = k.fma(k.mul(scale, d), integers, floats);
                } else {
                    inner = k.fma(d, integers, inner);
                }
            }
        }
        if per_block > 1 {
            floats = k.fma(scale, inner, floats);
        }
    }
    floats
}

/// `rows` of `m` against `tokens` of `x` into `out`, `[tokens, rows]`.
#[inline(always)]
pub(crate) fn gemm<M: Microkernel, F: CodeLayout<BITS>, const BITS: usize>(
    k: M,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    panel: &mut Panel,
    out: &mut [f32],
) {
    let strips = M::CODED_STRIPS;
    let blocks = m.stride / size_of::<F::Block>();
    let words = blocks * F::RUNS * RUN_WORDS * strips;
    panel.reserve(PANEL_ROWS, words / strips, blocks);
    panel.reserve_activations(M::CODED_TOKENS * x.width);
    for first in rows.clone().step_by(PANEL_ROWS) {
        let end = rows.end.min(first + PANEL_ROWS);
        pack::<M, F, BITS>(k, m, first..end, blocks, panel);
        let mut next_rows = following(m, end);
        for part in parts(tokens.len(), M::CODED_TOKENS) {
            let from = tokens.start + part.start;
            let q = &mut panel.activations[..part.len() * x.width];
            for (t, q) in q.chunks_exact_mut(x.width.max(1)).enumerate() {
                reorder::<M, F, BITS>(k, x.q(from + t), q);
            }
            let scaled = from * x.scales_per_token..(from + part.len()) * x.scales_per_token;
            let x = Encoded {
                q,
                scales: &x.scales[scaled.clone()],
                sums: &x.sums[scaled],
                ..*x
            };
            let out = &mut out[part.start * rows.len() + first - rows.start..];
            for (tile, tile_rows, prefetched) in tiles(end - first, strips * LANES, &mut next_rows)
            {
                k.coded_tile::<F, BITS>(TileArgs {
                    words: &panel.words[tile * words..][..words],
                    scales: &panel.scales[tile * blocks * strips..][..blocks * strips],
                    scale: 1.0,
                    x: &x,
                    tokens: 0..part.len(),
                    prefetched,
                    rows: tile_rows.len(),
                    out: &mut out[tile_rows.start..],
                    stride: rows.len(),
                });
            }
        }
    }
}

/// Packs `rows`: words `[tiles, runs, strips]` of four, scales `[tiles, blocks, strips]`. The rows
/// that fill up the last tile repeat the last one.
#[inline(always)]
fn pack<M: Microkernel, F: CodeLayout<BITS>, const BITS: usize>(
    k: M,
    m: &MatrixRef<'_>,
    rows: Range<usize>,
    blocks: usize,
    panel: &mut Panel,
) {
    let strips = rows.len().div_ceil(LANES);
    let words = panel.words.as_chunks_mut::<RUN_WORDS>().0;
    for strip in 0..strips.next_multiple_of(M::CODED_STRIPS) {
        let first = rows.start + strip * LANES;
        let row = |r: usize| F::blocks(m.row((first + r).min(rows.end - 1)));
        let strip_rows: [&[F::Block]; LANES] = std::array::from_fn(row);
        let (tile, strip) = (strip / M::CODED_STRIPS, strip % M::CODED_STRIPS);
        for block in 0..blocks {
            let mut unpacked: [Runs; LANES] = [[[0; _]; _]; LANES];
            let mut runs = [&[][..]; LANES];
            for ((runs, row), unpacked) in runs.iter_mut().zip(strip_rows).zip(&mut unpacked) {
                *runs = F::runs(k, &row[block], unpacked);
            }
            for run in 0..F::RUNS {
                let at = (tile * blocks + block) * F::RUNS + run;
                let transposed = transposed(k, &runs, run);
                for (word, bytes) in words[at * M::CODED_STRIPS + strip]
                    .iter_mut()
                    .zip(transposed)
                {
                    k.store_bytes(bytes, word);
                }
            }
            let at = (tile * blocks + block) * M::CODED_STRIPS + strip;
            for (row, scale) in strip_rows.iter().zip(&mut panel.scales[at]) {
                *scale = F::scale(&row[block]);
            }
        }
    }
}

/// A tile of `S` strips by as many tokens as there are, `T` at most.
#[inline(always)]
pub(crate) fn tile<
    M: Microkernel,
    F: CodeLayout<BITS>,
    const BITS: usize,
    const S: usize,
    const T: usize,
>(
    k: M,
    args: TileArgs<'_>,
) {
    match args.tokens.len().min(T) {
        1 => tile_of::<M, F, BITS, S, 1>(k, args),
        2 => tile_of::<M, F, BITS, S, 2>(k, args),
        3 => tile_of::<M, F, BITS, S, 3>(k, args),
        4 => tile_of::<M, F, BITS, S, 4>(k, args),
        5 => tile_of::<M, F, BITS, S, 5>(k, args),
        6 => tile_of::<M, F, BITS, S, 6>(k, args),
        _ => {}
    }
}

#[inline(always)]
fn tile_of<
    M: Microkernel,
    F: CodeLayout<BITS>,
    const BITS: usize,
    const S: usize,
    const T: usize,
>(
    k: M,
    args: TileArgs<'_>,
) {
    let (runs, _) = args.words.as_chunks::<RUN_WORDS>();
    let (runs, _) = runs.as_chunks::<S>();
    let (scales, _) = args.scales.as_chunks::<S>();
    let per_block = F::RUNS * pieces_per_run(BITS);
    let pieces = scales.len() * per_block;
    let mut q: [&[Steps]; T] = [&[]; T];
    let mut x_scales: [&[f32]; T] = [&[]; T];
    let mut sums: [&[i32]; T] = [&[]; T];
    for t in 0..T {
        q[t] = &args.x.q(t).as_chunks::<4>().0.as_chunks::<STEPS>().0[..pieces];
        x_scales[t] = &args.x.scales(t)[..pieces];
        sums[t] = &args.x.sums(t)[..pieces];
    }
    let mut floats = [[k.splat(0.0); S]; T];
    let prefetch_step = args.prefetched.len().div_ceil(scales.len().max(1));
    for (block, (runs, scales)) in runs.chunks_exact(F::RUNS).zip(scales).enumerate() {
        for at in (block * prefetch_step..(block + 1) * prefetch_step).step_by(LINE) {
            k.prefetch(args.prefetched, at);
        }
        // What a block meets, cut here: a check of bounds between the products of two tokens would
        // keep them from running side by side.
        let of_block = block * per_block..(block + 1) * per_block;
        let (mut q, mut x_scales, mut sums) = (q, x_scales, sums);
        for t in 0..T {
            q[t] = &q[t][of_block.clone()];
            x_scales[t] = &x_scales[t][of_block.clone()];
            sums[t] = &sums[t][of_block.clone()];
        }
        let mut inner = [[k.splat(0.0); S]; T];
        for place in 0..per_block {
            let (run, first) = (
                place / pieces_per_run(BITS),
                place % pieces_per_run(BITS) * BITS,
            );
            let mut words = [[k.load_bytes(&runs[0][0][0]); BITS]; S];
            for s in 0..S {
                for word in 0..BITS {
                    words[s][word] = k.load_bytes(&runs[run][s][first + word]);
                }
            }
            let (mut steps, mut totals) = ([&q[0][place]; T], [0; T]);
            for t in 0..T {
                (steps[t], totals[t]) = (&q[t][place], sums[t][place]);
            }
            let integers = integers::<M, BITS, S, T>(k, words, steps, totals);
            for t in 0..T {
                let d = k.splat(x_scales[t][place]);
                for s in 0..S {
                    // A block that meets one scale has its own multiplied by it first.
                    if per_block == 1 {
                        let d = k.mul(k.load_f16(&scales[s]), d);
                        floats[t][s] = k.fma(d, integers[t][s], floats[t][s]);
                    } else {
                        inner[t][s] = k.fma(d, integers[t][s], inner[t][s]);
                    }
                }
            }
        }
        if per_block > 1 {
            for s in 0..S {
                let scale = k.load_f16(&scales[s]);
                for t in 0..T {
                    floats[t][s] = k.fma(scale, inner[t][s], floats[t][s]);
                }
            }
        }
    }
    store(k, floats, args);
}
