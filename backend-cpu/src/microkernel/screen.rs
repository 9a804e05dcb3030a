//! Integer products of the screen's codes with activations of one byte.
//!
//! Exact, so an instruction set may compute them in any order it likes. The provided method is
//! plain Rust; an instruction set overrides it.

use crate::microkernel::dot::{Ahead, BlockDot};

/// Weights in a block.
pub(crate) const BLOCK: usize = 256;
/// A block falls into runs of as many weights, each with its own bits of the bytes.
pub(crate) const RUN: usize = 64;
/// Runs of a block.
pub(crate) const RUNS: usize = BLOCK / RUN;

/// Lines of a block of the four high bits of codes, which bound all rows.
pub(crate) const COARSE: usize = 2;
/// Lines of a block of the two low bits of codes, for the rows that are left.
pub(crate) const FINE: usize = 1;

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

/// Products of codes of an instruction set.
pub(crate) trait ScreenDot: BlockDot {
    /// Whether the registers hold the sums of two rows and the most planes.
    const PAIRS: bool = false;

    /// For each row and each plane: the sum of codes times activations. All have as many blocks.
    /// Meanwhile what is `ahead` of each row is brought into the cache, as many bytes as it has.
    #[inline(always)]
    fn screen<const LINES: usize, const R: usize, const P: usize>(
        self,
        rows: [&[[CodeLine; LINES]]; R],
        _ahead: [Ahead<'_, [CodeLine; LINES]>; R],
        planes: [&[Plane]; P],
    ) -> [[i32; P]; R] {
        let per_line = RUNS / LINES;
        let bits = 2 * LINES;
        let product = |row: &[[CodeLine; LINES]], plane: &[Plane]| {
            let mut sum = 0;
            for (block, plane) in row.iter().zip(plane) {
                for (run, q) in plane.0.iter().enumerate() {
                    let line = &block[run / per_line];
                    for (byte, q) in line.0.iter().zip(q) {
                        let code = byte >> (run % per_line * bits) & ((1 << bits) - 1);
                        sum += i32::from(code) * i32::from(*q);
                    }
                }
            }
            sum
        };
        rows.map(|row| planes.map(|plane| product(row, plane)))
    }
}
