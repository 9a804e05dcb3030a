//! Products of sixteen rows with four activations at a time, the heart of a gemm.
//!
//! A *quad* is four adjacent activations. One step multiplies the codes that sixteen rows have
//! there with them, so that sixteen sums, one per row, stand side by side in the lanes: nothing is
//! ever folded across lanes, and a quad is one broadcast of four bytes from memory. Sums are
//! integers, so an instruction set may take them in any order.

use bitnet_kernels::order::LANES;

use crate::blocks::Blocks;
use crate::generic::gemm::{self, Job, Ternary};

/// Quads of activations in a group of 128.
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

/// Steps of a gemm of an instruction set.
pub(crate) trait Quads: Blocks {
    /// Four bytes of each of sixteen rows.
    type Bytes: Copy;
    /// A quad, in as many copies as a step needs.
    type Quad: Copy;
    /// Sixteen sums.
    type Sums: Copy;
    /// Sums of at most [`QUADS`] quads on their way into [`Quads::Sums`].
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
    /// Brings the next two bits of each byte down to where [`Quads::codes`] finds them.
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
        gemm::add_group::<Self, F, V, T>(self, words, q, sums);
    }

    /// The same sum for all rows.
    fn splat_sum(self, sum: i32) -> Self::Sums;
    fn begin(self, sums: Self::Sums) -> Self::Run;
    /// `codes` are 0 ..= 3.
    fn dot(self, run: Self::Run, codes: Self::Bytes, q: Self::Quad) -> Self::Run;
    /// `sums` are those that [`Quads::begin`] got.
    fn end(self, sums: Self::Sums, run: Self::Run) -> Self::Sums;
    fn to_floats(self, sums: Self::Sums) -> Self::F;
}
