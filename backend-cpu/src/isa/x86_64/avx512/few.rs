//! Rows of `I2_S` as they lie against a few tokens, in the tiles of AMX.
//!
//! ```text
//! bring the activations into the form of a tile: of four after four, those of all tokens
//! for each sixteen rows, four of each stream
//!     for each 64 codes                                   side by side, so that neither waits:
//!         sums[row][token] += codes * activations
//!         take codes to come out, row after row: a byte to a code, in the order of the activations
//!         prefetch a part of the sixteen rows to come, stream after stream
//! ```
//!
//! Here rows lie as they are and the few activations are brought into another order;
//! [`amx`](super::amx) does it the other way round.

use std::arch::x86_64::*;

use bitnet_kernels::order::LANES;

use super::tiles::{FewTiles, Sums, TILE_TOKENS, TURN_GROUPS};
use super::token::Avx512;
use crate::generic::batch::results;
use crate::generic::streams::Streams;
use crate::microkernel::dot::DOT_ROWS;
use crate::microkernel::gemm::{GROUP, GemmArgs, PackedWord};

/// The least tokens that tiles are faster for: fewer leave the memory waiting less otherwise.
const LEAST: usize = 7;

/// Tokens that are brought side by side at a time.
const EIGHT: usize = 8;

impl<const VBMI: bool, const AMX: bool> Avx512<VBMI, AMX> {
    /// [`Microkernel::few_in_tiles`](crate::microkernel::gemm::Microkernel::few_in_tiles) with AMX:
    /// gives back what is too much for a tile, or too little. Scratch holds the activations.
    #[inline(always)]
    pub(super) fn few_with_amx<'a>(
        self,
        args: GemmArgs<'a>,
        scratch: &mut Vec<PackedWord>,
    ) -> Option<GemmArgs<'a>> {
        let whole = args.x.width.is_multiple_of(TURN_GROUPS * GROUP);
        if !AMX || !whole || !(LEAST..=TILE_TOKENS).contains(&args.tokens.len()) {
            return Some(args);
        }
        let GemmArgs {
            m,
            rows,
            x,
            tokens,
            out,
        } = args;
        let (width, count) = (rows.len(), tokens.len());
        if width == 0 || x.width == 0 {
            return None;
        }
        // Where no more than eight tokens stand side by side, two fours share a line.
        let pitch = count.next_multiple_of(EIGHT) * 4;
        let needed = x.width / 4 * pitch / size_of::<PackedWord>();
        if scratch.len() < needed {
            scratch.resize(needed, PackedWord::ZERO);
        }
        let activations = &mut scratch[..needed];
        for first in (0..count).step_by(EIGHT) {
            let mut eight: [&[i8]; EIGHT] = [&[]; EIGHT];
            for (t, q) in eight.iter_mut().enumerate() {
                *q = x.q(tokens.start + (first + t).min(count - 1));
            }
            self.bring_side_by_side(eight, first * 4, pitch, activations);
        }
        // SAFETY: `self` proves AMX, as was just seen.
        let tiles = unsafe { FewTiles::new(count) };
        let streams = Streams::new(&rows);
        let last = streams.strips().end - 1;
        for strip in streams.strips() {
            let strip_rows: [&[u8]; LANES] = streams.rows(strip, |row| m.row(row));
            // The strip to come, or, behind the last, the first of the rows that follow: most often
            // this thread's next.
            let further = if strip < last {
                DOT_ROWS
            } else {
                (width + DOT_ROWS).saturating_sub(DOT_ROWS * (last + 1))
            };
            let activations = (&*activations, pitch);
            // SAFETY: `self` proves AVX-512; there are activations of the whole width.
            let sums = unsafe { tiles.multiply(&strip_rows, further * m.stride, activations) };
            for (t, out) in out.chunks_exact_mut(width).take(count).enumerate() {
                let sums = sums_of_token(&sums, t);
                streams.put(strip, results(self, m, &sums, x, tokens.start + t), out);
            }
        }
        None
    }

    /// Brings the activations of eight tokens side by side, four of each, from byte `first` on of
    /// lines that are `pitch` bytes long.
    #[inline(always)]
    fn bring_side_by_side(
        self,
        tokens: [&[i8]; EIGHT],
        first: usize,
        pitch: usize,
        lines: &mut [PackedWord],
    ) {
        let width = tokens[0].len();
        assert!(tokens.iter().all(|q| q.len() == width));
        assert!(first + EIGHT * 4 <= pitch);
        assert!(width / 4 * pitch <= size_of_val(lines));
        let to = lines.as_mut_ptr().cast::<u8>();
        for i in 0..width / (EIGHT * 4) {
            // SAFETY: `self` proves AVX2; a load covers 32 bytes of a token, of which there are as
            // many as was just counted, and a store 32 bytes of a line.
            unsafe {
                let mut fours = [_mm256_setzero_si256(); EIGHT];
                for (fours, q) in fours.iter_mut().zip(tokens) {
                    *fours = _mm256_loadu_si256(q.as_ptr().add(i * EIGHT * 4).cast());
                }
                let [a, b, c, d, e, f, g, h] = fours;
                // Fours of two tokens, of four, of all eight.
                let (ab, ab_later) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
                let (cd, cd_later) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
                let (ef, ef_later) = (_mm256_unpacklo_epi32(e, f), _mm256_unpackhi_epi32(e, f));
                let (gh, gh_later) = (_mm256_unpacklo_epi32(g, h), _mm256_unpackhi_epi32(g, h));
                let halves = [
                    (_mm256_unpacklo_epi64(ab, cd), _mm256_unpacklo_epi64(ef, gh)),
                    (_mm256_unpackhi_epi64(ab, cd), _mm256_unpackhi_epi64(ef, gh)),
                    (
                        _mm256_unpacklo_epi64(ab_later, cd_later),
                        _mm256_unpacklo_epi64(ef_later, gh_later),
                    ),
                    (
                        _mm256_unpackhi_epi64(ab_later, cd_later),
                        _mm256_unpackhi_epi64(ef_later, gh_later),
                    ),
                ];
                let to = to.add(i * EIGHT * pitch + first);
                for (j, (abcd, efgh)) in halves.into_iter().enumerate() {
                    let low = _mm256_permute2x128_si256::<0x20>(abcd, efgh);
                    let high = _mm256_permute2x128_si256::<0x31>(abcd, efgh);
                    _mm256_storeu_si256(to.add(j * pitch).cast(), low);
                    _mm256_storeu_si256(to.add((j + 4) * pitch).cast(), high);
                }
            }
        }
    }
}

/// The sums of sixteen rows with a token.
#[inline(always)]
fn sums_of_token(parts: &Sums, token: usize) -> [i32; LANES] {
    let mut sums = [0; LANES];
    for part in parts {
        for (sum, line) in sums.iter_mut().zip(part) {
            *sum += i32::from_ne_bytes(line.0[token]);
        }
    }
    sums
}
