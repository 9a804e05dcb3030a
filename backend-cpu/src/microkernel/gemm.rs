//! Products of sixteen rows with four activations at a time, the heart of a gemm.
//!
//! A *quad* is four adjacent activations. One step multiplies the codes that sixteen rows have
//! there with them, so that sixteen sums, one per row, stand side by side in the lanes: nothing is
//! ever folded across lanes, and a quad is one broadcast of four bytes from memory. Sums are
//! integers, so an instruction set may take them in any order.

use std::ops::Range;

use bitnet_kernels::order::LANES;

use crate::microkernel::dot::BlockDot;
use crate::microkernel::operands::Encoded;

/// Microkernel of activations in a group of 128.
pub(crate) const QUADS: usize = 32;

/// Four bytes of each of sixteen rows: sixteen codes of two bits per row.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Word(pub(crate) [[u8; 4]; LANES]);

/// The words of a group of 128 weights.
pub(crate) type Group = [Word; 8];

impl Word {
    pub(crate) const ZERO: Word = Word([[0; 4]; LANES]);
}

/// How a ternary format packs a row.
pub(crate) trait Ternary {
    /// Whether the highest bits of a byte belong to the first of its four activations.
    const HIGHEST_FIRST: bool;
    /// Groups of 128 that share a scale; `None` where the whole tensor does.
    const SCALED: Option<usize>;

    /// The bytes of the `i`th block, or of the `i`th group where there are no blocks. In each group
    /// of 32 bytes, the four codes of byte `j` belong to activations `j`, `j + 32`, `j + 64`
    /// and `j + 96`. `room` is for those that are not stored that way.
    fn bytes<'a, B: BlockDot>(b: B, row: &'a [u8], i: usize, room: &'a mut [u8; 64]) -> &'a [u8];

    /// The binary16 scale of a block, where there are blocks.
    fn scale(row: &[u8], block: usize) -> u16;
}

/// A tile of registers' work: the strips of one tile of a panel against `tokens`.
pub(crate) struct Job<'a> {
    pub(crate) words: &'a [Group],
    pub(crate) scales: &'a [[u16; LANES]],
    /// The tensor's scale.
    pub(crate) scale: f32,
    pub(crate) x: &'a Encoded<'a>,
    pub(crate) tokens: Range<usize>,
    /// Bytes that the memory is asked for on the way.
    pub(crate) ahead: &'a [u8],
    /// From the tile's first row of its first token on.
    pub(crate) out: &'a mut [f32],
    /// Rows that are wanted; what the last strip has beyond them is dropped.
    pub(crate) rows: usize,
    /// Distance between tokens in `out`.
    pub(crate) stride: usize,
}

/// Steps of a gemm of an instruction set.
pub(crate) trait Microkernel: BlockDot {
    /// Four bytes of each of sixteen rows.
    type Bytes: Copy;
    /// A quad, in as many copies as a step needs.
    type Quad: Copy;
    /// Sixteen sums.
    type Sums: Copy;
    /// Sums of at most [`QUADS`] quads on their way into [`Microkernel::Sums`].
    type Run: Copy;

    /// Strips of sixteen rows that a tile of registers covers.
    const STRIPS: usize;
    /// Tokens that a tile of registers covers, at most.
    const TOKENS: usize;

    /// Runs `generic::gemm::tile` of the size above.
    fn tile<F: Ternary>(self, job: Job<'_>);

    /// Word `i` takes bytes `4i .. 4i + 4` of each row.
    fn transpose(self, rows: [&[u8; 32]; LANES], words: &mut Group);
    fn load_bytes(self, word: &Word) -> Self::Bytes;
    /// The two lowest bits of each byte.
    fn codes(self, bytes: Self::Bytes) -> Self::Bytes;
    /// Brings the next two bits of each byte down to where [`Microkernel::codes`] finds them.
    fn next(self, bytes: Self::Bytes) -> Self::Bytes;
    fn spread(self, q: &[i8; 4]) -> Self::Quad;

    /// Adds the products of a group of 128 weights of `V` strips to the sums of `T` tokens.
    #[inline(always)]
    fn add_group<F: Ternary, const V: usize, const T: usize>(
        self,
        words: &[Group; V],
        q: [&[[i8; 4]; QUADS]; T],
        sums: &mut [[Self::Sums; V]; T],
    ) {
        add_group::<Self, F, V, T>(self, words, q, sums);
    }

    /// The same sum for all rows.
    fn splat_sum(self, sum: i32) -> Self::Sums;
    fn begin(self, sums: Self::Sums) -> Self::Run;
    /// `codes` are 0 ..= 3.
    fn dot(self, run: Self::Run, codes: Self::Bytes, q: Self::Quad) -> Self::Run;
    /// `sums` are those that [`Microkernel::begin`] got.
    fn end(self, sums: Self::Sums, run: Self::Run) -> Self::Sums;
    fn to_floats(self, sums: Self::Sums) -> Self::F;
}

/// [`Microkernel::add_group`], quad by quad.
#[inline(always)]
pub(crate) fn add_group<D: Microkernel, F: Ternary, const V: usize, const T: usize>(
    d: D,
    words: &[Group; V],
    q: [&[[i8; 4]; QUADS]; T],
    sums: &mut [[D::Sums; V]; T],
) {
    let mut runs = [[d.begin(sums[0][0]); V]; T];
    for t in 0..T {
        for v in 0..V {
            runs[t][v] = d.begin(sums[t][v]);
        }
    }
    for word in 0..8 {
        let mut bytes = [d.load_bytes(&words[0][word]); V];
        for v in 1..V {
            bytes[v] = d.load_bytes(&words[v][word]);
        }
        for shift in 0..4 {
            let mut codes = bytes;
            for v in 0..V {
                codes[v] = d.codes(bytes[v]);
                bytes[v] = d.next(bytes[v]);
            }
            let place = if F::HIGHEST_FIRST { 3 - shift } else { shift };
            for t in 0..T {
                let q = d.spread(&q[t][place * 8 + word]);
                for v in 0..V {
                    runs[t][v] = d.dot(runs[t][v], codes[v], q);
                }
            }
        }
    }
    for t in 0..T {
        for v in 0..V {
            sums[t][v] = d.end(sums[t][v], runs[t][v]);
        }
    }
}
