//! Ternary matrix products for several tokens.
//!
//! Rows come in strips of sixteen. A panel holds the packed codes of some rows with the rows
//! transposed, so that a word of four bytes of each row of a strip lies in one register. A tile of
//! registers, some strips by some tokens, walks the whole width: it takes the codes out of each
//! word once and multiplies them with the quads of all its tokens. Codes are 0, 1, 2; sums begin at
//! minus the sum of the activations, which makes them -1, 0, 1.
//!
//! Loops over a tile are plain `for` loops: a closure that is handed to an iterator or an array
//! method of `std` is compiled without the instruction set's features, and so are the vector
//! operations in it.

use std::ops::Range;

use bitnet_kernels::order::LANES;

use crate::microkernel::gemm::{Group, Job, Microkernel, QUADS, Ternary, Word};
use crate::microkernel::operands::{Encoded, Matrix};

/// Rows of a panel.
pub(crate) const ROWS: usize = 64;

/// Rows of a matrix made ready for the tiles, and room for it that is kept from product to product.
#[derive(Default)]
pub(crate) struct Panel {
    /// `[tiles, groups, strips]`.
    words: Vec<Group>,
    /// `[tiles, blocks, strips]`.
    scales: Vec<[u16; LANES]>,
}

impl Panel {
    /// Makes room for `rows` rows of `cols` weights.
    pub(crate) fn reserve(&mut self, rows: usize, cols: usize) {
        // Any tile's strips divide eight.
        let strips = rows.div_ceil(LANES).next_multiple_of(8);
        let groups = strips * cols.div_ceil(128);
        if self.words.len() < groups {
            self.words.resize(groups, [Word::ZERO; 8]);
            self.scales.resize(groups, [0; LANES]);
        }
    }

    /// Transposes `rows`. The rows that fill up the last tile repeat the last one.
    #[inline(always)]
    fn fill<D: Microkernel, F: Ternary>(
        &mut self,
        d: D,
        m: &Matrix<'_>,
        rows: Range<usize>,
        groups: usize,
    ) {
        let strips = rows.len().div_ceil(LANES);
        for strip in 0..strips.next_multiple_of(D::STRIPS) {
            let first = rows.start + strip * LANES;
            let strip_rows: [&[u8]; LANES] =
                std::array::from_fn(|r| m.row((first + r).min(rows.end - 1)));
            let (tile, strip) = (strip / D::STRIPS, strip % D::STRIPS);
            let together = F::SCALED.unwrap_or(1);
            for i in 0..groups / together {
                let mut rooms = [[0; 64]; LANES];
                let mut bytes: [&[[u8; 32]]; LANES] = [&[]; LANES];
                for ((row, room), bytes) in strip_rows.iter().zip(&mut rooms).zip(&mut bytes) {
                    *bytes = F::bytes(d, row, i, room).as_chunks().0;
                }
                for part in 0..together {
                    let at = (tile * groups + i * together + part) * D::STRIPS + strip;
                    d.transpose(bytes.map(|bytes| &bytes[part]), &mut self.words[at]);
                }
            }
            if let Some(scaled) = F::SCALED {
                let blocks = groups / scaled;
                for block in 0..blocks {
                    let at = (tile * blocks + block) * D::STRIPS + strip;
                    for (row, scale) in strip_rows.iter().zip(&mut self.scales[at]) {
                        *scale = F::scale(row, block);
                    }
                }
            }
        }
    }
}

/// `rows` of `m` against `tokens` of `x` into `out`, `[tokens, rows]`.
#[inline(always)]
pub(crate) fn gemm<D: Microkernel, F: Ternary>(
    d: D,
    m: &Matrix<'_>,
    rows: Range<usize>,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    panel: &mut Panel,
    out: &mut [f32],
) {
    panel.reserve(ROWS, x.width);
    for first in rows.clone().step_by(ROWS) {
        let end = rows.end.min(first + ROWS);
        panel.fill::<D, F>(d, m, first..end, x.width / 128);
        // What follows the rows is most often this thread's next piece.
        let next = end..(m.bytes.len() / m.stride).min(end + ROWS);
        let ahead = &m.bytes[next.start * m.stride..next.end * m.stride];
        let out = &mut out[first - rows.start..];
        multiply::<D, F>(
            d,
            m.scale,
            panel,
            end - first,
            x,
            tokens.clone(),
            ahead,
            out,
            rows.len(),
        );
    }
}

/// The first `rows` rows of a panel against `tokens` of `x` into `out`, tokens `stride` apart.
/// Meanwhile the memory is asked for the bytes `ahead`.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the parts of a matrix product")]
fn multiply<D: Microkernel, F: Ternary>(
    d: D,
    scale: f32,
    panel: &Panel,
    rows: usize,
    x: &Encoded<'_>,
    tokens: Range<usize>,
    mut ahead: &[u8],
    out: &mut [f32],
    stride: usize,
) {
    let groups = x.width / 128;
    let tile_rows = D::STRIPS * LANES;
    let tiles = rows.div_ceil(tile_rows);
    let tile_groups = groups * D::STRIPS;
    let tile_scales = F::SCALED.map_or(0, |scaled| groups / scaled * D::STRIPS);
    // Tokens in parts of nearly the same size. A part's activations stay in the first cache while
    // the rows pass by.
    let count = tokens.len();
    let parts = count.div_ceil(D::TOKENS);
    for part in 0..parts {
        let (from, to) = (count * part / parts, count * (part + 1) / parts);
        for tile in 0..tiles {
            let first = tile * tile_rows;
            let asked = ahead.len().div_ceil(tiles - tile);
            let (now, later) = ahead.split_at(asked);
            ahead = later;
            d.tile::<F>(Job {
                words: &panel.words[tile * tile_groups..][..tile_groups],
                scales: &panel.scales[tile * tile_scales..][..tile_scales],
                scale,
                x,
                tokens: tokens.start + from..tokens.start + to,
                ahead: now,
                out: &mut out[from * stride + first..],
                rows: tile_rows.min(rows - first),
                stride,
            });
        }
    }
}

/// A tile of `V` strips by as many tokens as the job has, `T` at most.
#[inline(always)]
pub(crate) fn tile<D: Microkernel, F: Ternary, const V: usize, const T: usize>(d: D, job: Job<'_>) {
    match job.tokens.len().min(T) {
        1 => tile_of::<D, F, V, 1>(d, job),
        2 => tile_of::<D, F, V, 2>(d, job),
        3 => tile_of::<D, F, V, 3>(d, job),
        4 => tile_of::<D, F, V, 4>(d, job),
        5 => tile_of::<D, F, V, 5>(d, job),
        6 => tile_of::<D, F, V, 6>(d, job),
        7 => tile_of::<D, F, V, 7>(d, job),
        8 => tile_of::<D, F, V, 8>(d, job),
        9 => tile_of::<D, F, V, 9>(d, job),
        10 => tile_of::<D, F, V, 10>(d, job),
        11 => tile_of::<D, F, V, 11>(d, job),
        12 => tile_of::<D, F, V, 12>(d, job),
        _ => {}
    }
}

#[inline(always)]
fn tile_of<D: Microkernel, F: Ternary, const V: usize, const T: usize>(d: D, job: Job<'_>) {
    let token = |t: usize| job.tokens.start + t;
    let (words, _) = job.words.as_chunks::<V>();
    let (scales, _) = job.scales.as_chunks::<V>();
    let q: [&[[[i8; 4]; QUADS]]; T] = std::array::from_fn(|t| {
        let quads = job.x.q(token(t)).as_chunks::<4>().0;
        &quads.as_chunks::<QUADS>().0[..words.len()]
    });
    let mut floats = [[d.splat(0.0); V]; T];
    let block_len = F::SCALED.unwrap_or(words.len());
    let asked = job.ahead.len().div_ceil(words.len().max(1));
    for (block, words) in words.chunks_exact(block_len).enumerate() {
        let mut sums = [[d.splat_sum(0); V]; T];
        for (t, sums) in sums.iter_mut().enumerate() {
            *sums = [d.splat_sum(-job.x.sums(token(t))[block]); V];
        }
        for (i, words) in words.iter().enumerate() {
            let group = block * block_len + i;
            for at in (group * asked..(group + 1) * asked).step_by(64) {
                d.prefetch(job.ahead, at);
            }
            let q: [&[[i8; 4]; QUADS]; T] = std::array::from_fn(|t| &q[t][group]);
            d.add_group::<F, V, T>(words, q, &mut sums);
        }
        for (t, (floats, sums)) in floats.iter_mut().zip(sums).enumerate() {
            let scale = d.splat(job.x.scales(token(t))[block]);
            for (v, (float, sums)) in floats.iter_mut().zip(sums).enumerate() {
                let sums = d.to_floats(sums);
                *float = if F::SCALED.is_some() {
                    d.fma(d.mul(d.load_f16(&scales[block][v]), scale), sums, *float)
                } else {
                    d.mul(d.div(sums, scale), d.splat(job.scale))
                };
            }
        }
    }
    for (floats, out) in floats.into_iter().zip(job.out.chunks_mut(job.stride)) {
        let (strips, tail) = out[..job.rows].as_chunks_mut::<LANES>();
        for (v, float) in floats.into_iter().enumerate() {
            if let Some(strip) = strips.get_mut(v) {
                d.store(float, strip);
            } else if v == strips.len() {
                tail.copy_from_slice(&d.to_array(float)[..tail.len()]);
            }
        }
    }
}
