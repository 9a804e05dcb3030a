//! Integer products of the screen's codes with activations of one byte.
//!
//! Exact, so an instruction set may compute them in any order it likes. The provided method is
//! plain Rust; an instruction set overrides it.

use crate::microkernel::dot::{Ahead, BlockDot, DOT_ROWS};
use crate::microkernel::simd::Simd;

/// Weights in a block.
pub(crate) const BLOCK: usize = 256;
/// A block falls into runs of as many weights, each with its own bits of the bytes.
pub(crate) const RUN: usize = 64;
/// Runs of a block.
pub(crate) const RUNS: usize = BLOCK / RUN;

/// A block of the four high bits of codes, which bound all rows.
pub(crate) type Coarse = [CodeLine; 2];
/// A block of the two low bits of codes, for the rows that are left.
pub(crate) type Fine = [CodeLine; 1];
/// Low bits of a code.
pub(crate) const FINE_BITS: usize = 2;

/// 64 bytes of codes. A block of codes of `2 * LINES` bits has `LINES` of them, with the codes of
/// `4 / LINES` runs each: byte `j` of a line holds code `j` of each of its runs, from its lowest
/// bits on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct CodeLine(pub(crate) [u8; RUN]);

/// 256 activations, as [`CodeLine`]s meet them.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Plane(pub(crate) [[i8; RUN]; RUNS]);

/// Packs a block of codes, of which each line takes the bits from `from` on.
#[inline(always)]
pub(crate) fn pack<const LINES: usize>(
    codes: &[i8; BLOCK],
    from: usize,
    block: &mut [CodeLine; LINES],
) {
    let per_line = RUNS / LINES;
    let bits = 2 * LINES;
    let mask = (1 << bits) - 1;
    for (line, runs) in block.iter_mut().zip(codes.chunks_exact(per_line * RUN)) {
        for j in 0..RUN {
            line.0[j] = 0;
            for (place, run) in runs.chunks_exact(RUN).enumerate() {
                line.0[j] |= (run[j].cast_unsigned() >> from & mask) << (place * bits);
            }
        }
    }
}

impl Plane {
    pub(crate) const ZERO: Plane = Plane([[0; RUN]; RUNS]);
}

/// The codes of a row: their high bits, and as many blocks of their low bits where all bits are
/// wanted.
#[derive(Clone, Copy)]
pub(crate) struct Codes<'a> {
    pub(crate) coarse: &'a [Coarse],
    pub(crate) fine: &'a [Fine],
}

/// What is read after the codes of a row.
#[derive(Clone, Copy)]
pub(crate) struct CodesAhead<'a> {
    pub(crate) coarse: Ahead<'a, Coarse>,
    pub(crate) fine: Ahead<'a, Fine>,
}

impl CodesAhead<'_> {
    /// Prefetches a block; of its high bits alone if not `ALL` are wanted.
    #[inline(always)]
    pub(crate) fn prefetch<const ALL: bool, S: Simd>(self, s: S, block: usize) {
        self.coarse.prefetch(s, 2 * block * RUN);
        self.coarse.prefetch(s, (2 * block + 1) * RUN);
        if ALL {
            self.fine.prefetch(s, block * RUN);
        }
    }
}

/// The code of byte `j` of a run of a block: all bits of it, or the high ones.
#[inline(always)]
fn code<const ALL: bool>(codes: Codes<'_>, block: usize, run: usize, j: usize) -> u8 {
    let high = codes.coarse[block][run / 2].0[j] >> (run % 2 * 4) & 15;
    if !ALL {
        return high;
    }
    let low = codes.fine[block][0].0[j] >> (run * FINE_BITS) & 3;
    high << FINE_BITS | low
}

/// Products of codes of an instruction set.
pub(crate) trait ScreenDot: BlockDot {
    /// From how many places at once rows are taken.
    const STREAMS: usize = DOT_ROWS;
    /// Whether the registers hold the sums of two rows and the most planes.
    const PAIRS: bool = false;

    /// For each row and each plane: the sum of codes times activations, where codes are all their
    /// bits or the high ones alone. All have as many blocks. Meanwhile what is `ahead` of each row
    /// is brought into the cache, as many bytes as it has.
    #[inline(always)]
    fn screen<const ALL: bool, const R: usize, const P: usize>(
        self,
        rows: [Codes<'_>; R],
        _ahead: [CodesAhead<'_>; R],
        planes: [&[Plane]; P],
    ) -> [[i32; P]; R] {
        let product = |row: Codes<'_>, plane: &[Plane]| {
            let mut sum = 0;
            for (block, plane) in plane.iter().enumerate().take(row.coarse.len()) {
                for (run, q) in plane.0.iter().enumerate() {
                    for (j, q) in q.iter().enumerate() {
                        sum += i32::from(code::<ALL>(row, block, run, j)) * i32::from(*q);
                    }
                }
            }
            sum
        };
        rows.map(|row| planes.map(|plane| product(row, plane)))
    }
}
