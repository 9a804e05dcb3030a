//! The gemm in AMX: tiles of up to sixteen tokens by sixteen rows, to which an instruction adds the
//! products of 64 activations with as many codes.
//!
//! ```text
//! for each panel of 64 rows
//!     for each chunk of the width                        a block, where blocks have scales
//!         take its codes out: a byte to a code, four of each row of a strip side by side
//!         for each 32 tokens
//!             for each two strips                        sums of 32 tokens by 32 rows in tiles
//!                 sums += activations where they lie * codes
//!                 at the end of a scaled block: floats[t][row] = fma(d_w * d_x, sums, floats)
//!         meanwhile prefetch the same chunk of the next panel
//!     write floats, or sums / x_scale * tensor_scale, to out
//! ```
//!
//! The codes of a chunk stay in the L1 cache for all tokens. Sums are integers and so those of the
//! other instruction sets, to the bit; floats are added up in their order.

use std::arch::x86_64::*;
use std::ops::Range;

use bitnet_kernels::format::tq2_0;
use bitnet_kernels::order::LANES;

use super::tiles::{PAIR, TILE_TOKENS, Tiles};
use super::token::Avx512;
use crate::generic::gemm::{
    LINE, PANEL_ROWS, block_groups, block_scales, store_rows, strip_rows, transposed,
};
use crate::microkernel::coded::RUN_WORDS;
use crate::microkernel::gemm::{
    GROUP, GROUP_BYTES, GROUP_STEPS, GROUP_WORDS, GemmArgs, Microkernel, PackedWord, TernaryLayout,
};
use crate::microkernel::operands::{Encoded, MatrixRef};
use crate::microkernel::runs::RUN_BYTES;
use crate::microkernel::simd::Simd;

/// Pairs of strips in a panel.
const PAIRS: usize = PANEL_ROWS / (PAIR * LANES);

/// Strips of a panel.
const STRIPS: usize = PAIRS * PAIR;

/// Groups of a chunk where no scale ends it: 24 KB of codes, beside which the activations of 32
/// tokens and their sums have room in 48.
const CHUNK: usize = 3;

/// The codes of a group of a pair of strips, a byte to a code.
type PairOfGroups = [[PackedWord; GROUP_STEPS]; PAIR];

/// The rows of a panel.
struct PanelRows<'a> {
    m: &'a MatrixRef<'a>,
    rows: Range<usize>,
    /// Groups of a row.
    groups: usize,
}

impl<'a> PanelRows<'a> {
    /// The rows of a strip.
    #[inline(always)]
    fn strip(&self, strip: usize) -> [&'a [u8]; LANES] {
        strip_rows(self.m, &self.rows, strip)
    }

    /// Pairs of strips that have rows.
    fn pairs(&self) -> usize {
        self.rows.len().div_ceil(PAIR * LANES)
    }
}

impl<const VBMI: bool, const AMX: bool> Avx512<VBMI, AMX> {
    /// The most multiply-adds that tiles do; see [`Peak`](crate::microkernel::peak::Peak).
    #[inline(always)]
    pub(in super::super) fn multiply_tiles(self, rounds: u64) -> i32 {
        assert!(AMX);
        // SAFETY: `self` proves AMX, as was just seen.
        unsafe { Tiles::new(TILE_TOKENS) }.multiply_ones(rounds)
    }

    /// [`Microkernel::whole_gemm`] with AMX. Scratch holds the codes of a chunk and, from there
    /// on, a line for each strip of each token: sums, or floats.
    #[inline(always)]
    pub(super) fn gemm_with_amx<F: TernaryLayout>(
        self,
        args: GemmArgs<'_>,
        scratch: &mut Vec<PackedWord>,
    ) {
        assert!(AMX);
        let GemmArgs {
            m,
            rows,
            x,
            tokens,
            out,
        } = args;
        let groups = x.width / GROUP;
        let chunk = F::GROUPS_PER_SCALE.unwrap_or(CHUNK);
        let room_for_codes = PAIRS * chunk * PAIR * GROUP_STEPS;
        let needed = room_for_codes + tokens.len() * STRIPS;
        if scratch.len() < needed {
            scratch.resize(needed, PackedWord::ZERO);
        }
        let (codes, totals) = scratch[..needed].split_at_mut(room_for_codes);
        let (totals, _) = totals.as_chunks_mut::<STRIPS>();
        if totals.is_empty() {
            return;
        }
        // SAFETY: `self` proves AMX, as was just seen.
        let mut tiles = unsafe { Tiles::new(tokens.len().min(2 * TILE_TOKENS)) };
        for first in rows.clone().step_by(PANEL_ROWS) {
            let panel = PanelRows {
                m,
                rows: first..rows.end.min(first + PANEL_ROWS),
                groups,
            };
            self.begin::<F>(x, tokens.start, totals);
            for from in (0..groups).step_by(chunk) {
                let chunk = from..groups.min(from + chunk);
                let codes = &mut codes[..PAIRS * chunk.len() * PAIR * GROUP_STEPS];
                self.take_codes::<F>(&panel, chunk.clone(), codes);
                self.multiply_chunk::<F>(&mut tiles, &panel, codes, x, tokens.start, chunk, totals);
            }
            let out = &mut out[first - rows.start..];
            for (t, total) in totals.iter().enumerate() {
                let out = &mut out[t * rows.len()..][..panel.rows.len()];
                store_rows(self, self.end::<F>(m, x, tokens.start + t, total), out);
            }
        }
    }

    /// What the lines of a token begin with: minus the sum of its activations, which makes codes 0,
    /// 1, 2 weights -1, 0, 1; floats of blocks begin with 0.
    #[inline(always)]
    fn begin<F: TernaryLayout>(
        self,
        x: &Encoded<'_>,
        first_token: usize,
        totals: &mut [[PackedWord; STRIPS]],
    ) {
        for (t, total) in totals.iter_mut().enumerate() {
            let start = match F::GROUPS_PER_SCALE {
                Some(_) => self.splat_i32(0),
                None => self.splat_i32(-x.sums(first_token + t)[0]),
            };
            for line in total {
                self.store_bytes(start, line);
            }
        }
    }

    /// The results of a token.
    #[inline(always)]
    fn end<F: TernaryLayout>(
        self,
        m: &MatrixRef<'_>,
        x: &Encoded<'_>,
        token: usize,
        total: &[PackedWord; STRIPS],
    ) -> [__m512; STRIPS] {
        let mut floats = [self.splat(0.0); STRIPS];
        for (float, line) in floats.iter_mut().zip(total) {
            let line = self.load_bytes(line);
            *float = match F::GROUPS_PER_SCALE {
                // SAFETY: `self` proves AVX-512.
                Some(_) => unsafe { _mm512_castsi512_ps(line) },
                None => {
                    let scale = self.splat(x.scales(token)[0]);
                    self.mul(self.div(self.to_f32(line), scale), self.splat(m.scale))
                }
            };
        }
        floats
    }

    /// Takes the codes of some groups out of a panel's rows: `[pairs, groups, strips, steps]`.
    /// Meanwhile those of the next panel are prefetched.
    #[inline(always)]
    fn take_codes<F: TernaryLayout>(
        self,
        panel: &PanelRows<'_>,
        groups: Range<usize>,
        codes: &mut [PackedWord],
    ) {
        let per_block = F::GROUPS_PER_SCALE.unwrap_or(1);
        let (codes, _) = codes.as_chunks_mut::<GROUP_STEPS>();
        let bytes = |group: usize| panel.m.stride * group / panel.groups;
        let next = PANEL_ROWS * panel.m.stride + bytes(groups.start);
        let lines = (bytes(groups.end) - bytes(groups.start)).div_ceil(LINE);
        for strip in 0..panel.pairs() * PAIR {
            let rows = panel.strip(strip);
            for row in rows {
                for line in 0..lines {
                    self.prefetch(row, next + line * LINE);
                }
            }
            for i in groups.start / per_block..groups.end / per_block {
                let mut unpacked = [[0; tq2_0::CODE_BYTES]; LANES];
                let bytes = block_groups::<Self, F>(self, rows, i, &mut unpacked);
                for part in 0..per_block {
                    let group = i * per_block + part - groups.start;
                    let at = (strip / PAIR * groups.len() + group) * PAIR + strip % PAIR;
                    for half in 0..GROUP_BYTES / RUN_BYTES {
                        let words = transposed(self, &bytes, part, half);
                        for (word, bytes) in words.into_iter().enumerate() {
                            let word = half * RUN_WORDS + word;
                            self.store_codes::<F>(bytes, word, &mut codes[at]);
                        }
                    }
                }
            }
        }
    }

    /// Stores the codes of word `word` of a group.
    #[inline(always)]
    fn store_codes<F: TernaryLayout>(
        self,
        mut bytes: __m512i,
        word: usize,
        steps: &mut [PackedWord; GROUP_STEPS],
    ) {
        for shift in 0..4 {
            let place = if F::HIGHEST_FIRST { 3 - shift } else { shift };
            let codes = self.low_codes::<2>(bytes);
            self.store_bytes(codes, &mut steps[place * GROUP_WORDS + word]);
            bytes = self.shift_codes::<2>(bytes);
        }
    }

    /// Multiplies the codes of some groups with all tokens.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "the parts of a matrix product")]
    fn multiply_chunk<F: TernaryLayout>(
        self,
        tiles: &mut Tiles,
        panel: &PanelRows<'_>,
        codes: &[PackedWord],
        x: &Encoded<'_>,
        first_token: usize,
        groups: Range<usize>,
        totals: &mut [[PackedWord; STRIPS]],
    ) {
        let (codes, _) = codes.as_chunks::<GROUP_STEPS>();
        let (codes, _) = codes.as_chunks::<PAIR>();
        let codes: &[PairOfGroups] = codes;
        let scale = F::GROUPS_PER_SCALE.map(|per_block| groups.start / per_block);
        let mut scales = [self.splat(0.0); STRIPS];
        if let Some(block) = scale {
            for (strip, scales) in scales.iter_mut().enumerate() {
                *scales = self.load_f16(&block_scales::<F>(panel.strip(strip), block));
            }
        }
        let pitch = size_of::<[PackedWord; STRIPS]>();
        let mut sums = [[PackedWord::ZERO; PAIR]; 2 * TILE_TOKENS];
        for (part, totals) in totals.chunks_mut(2 * TILE_TOKENS).enumerate() {
            tiles.reshape(totals.len());
            let first = first_token + part * 2 * TILE_TOKENS;
            let activations = &x.q[first * x.width..(first + totals.len()) * x.width];
            let activations = activations[groups.start * GROUP..].as_ptr();
            for pair in 0..panel.pairs() {
                let codes = &codes[pair * groups.len()..][..groups.len()];
                let Some(block) = scale else {
                    let lines = totals.as_flattened_mut()[pair * PAIR..].as_mut_ptr();
                    // SAFETY: the activations of the last token end with the slice, and there are
                    // as many groups in it as in the codes; `totals` has lines for every token.
                    unsafe {
                        tiles.multiply::<false>(codes, (activations, x.width), (lines, pitch));
                    }
                    continue;
                };
                // SAFETY: as above; `sums` has lines for every token.
                unsafe {
                    tiles.multiply::<true>(
                        codes,
                        (activations, x.width),
                        (sums.as_flattened_mut().as_mut_ptr(), size_of_val(&sums[0])),
                    );
                }
                for (t, (sums, total)) in sums.iter().zip(totals.iter_mut()).enumerate() {
                    let scale = self.splat(x.scales(first + t)[block]);
                    let offset = self.splat_i32(-x.sums(first + t)[block]);
                    for (s, sum) in sums.iter().enumerate() {
                        let line = &mut total[pair * PAIR + s];
                        let scale = self.mul(scales[pair * PAIR + s], scale);
                        // SAFETY: `self` proves AVX-512.
                        unsafe {
                            let sum = _mm512_add_epi32(self.load_bytes(sum), offset);
                            let float = _mm512_castsi512_ps(self.load_bytes(line));
                            let float = self.fma(scale, self.to_f32(sum), float);
                            self.store_bytes(_mm512_castps_si512(float), line);
                        }
                    }
                }
            }
        }
    }
}
