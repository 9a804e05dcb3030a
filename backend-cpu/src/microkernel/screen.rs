//! Integer products of the screen's six-bit codes with activations of two bytes.
//!
//! Exact, so an instruction set may compute them in any order it likes. The provided method is
//! plain Rust; an instruction set overrides it.

use crate::microkernel::dot::BlockDot;

/// Weights in a [`Block`].
pub(crate) const BLOCK: usize = 256;
/// A block falls into runs of as many weights, each with its own bits of the bytes.
pub(crate) const RUN: usize = 64;

/// 256 codes of six bits. Byte `j` of `low` holds the four low bits of codes `j` and `j + 64`, byte
/// `j + 64` those of codes `j + 128` and `j + 192`; byte `j` of `high` holds the two high bits of
/// all four, from its lowest bits on.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Block {
    pub(crate) low: [u8; 128],
    pub(crate) high: [u8; 64],
}

/// 256 activations, as `256 * [run][0] + [run][1]`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Planes(pub(crate) [[[i8; RUN]; 2]; BLOCK / RUN]);

impl Block {
    pub(crate) const ZERO: Block = Block {
        low: [0; 128],
        high: [0; 64],
    };

    /// Packs codes below 64.
    #[inline(always)]
    pub(crate) fn pack(codes: &[i8; BLOCK]) -> Block {
        let mut block = Block::ZERO;
        for j in 0..RUN {
            let [a, b, c, d] = std::array::from_fn(|run| codes[run * RUN + j].cast_unsigned());
            block.low[j] = a & 15 | b << 4;
            block.low[RUN + j] = c & 15 | d << 4;
            block.high[j] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
        block
    }
}

impl Planes {
    pub(crate) const ZERO: Planes = Planes([[[0; RUN]; 2]; BLOCK / RUN]);
}

/// Products of codes of an instruction set.
pub(crate) trait ScreenDot: BlockDot {
    /// Whether the registers hold the sums of two rows and four tokens.
    const PAIRS: bool = false;

    /// For each row and each token: the sum of codes times first bytes, and that of codes times
    /// second bytes. All rows and tokens have as many blocks.
    #[inline(always)]
    fn screen<const R: usize, const T: usize>(
        self,
        rows: [&[Block]; R],
        tokens: [&[Planes]; T],
    ) -> [[[i32; 2]; T]; R] {
        let product = |row: &[Block], token: &[Planes], plane: usize| {
            let mut sum = 0;
            for (block, planes) in row.iter().zip(token) {
                for (run, q) in planes.0.iter().enumerate() {
                    for (j, q) in q[plane].iter().enumerate() {
                        let low = block.low[run / 2 * RUN + j] >> (run % 2 * 4) & 15;
                        let code = low | (block.high[j] >> (2 * run) & 3) << 4;
                        sum += i32::from(code) * i32::from(*q);
                    }
                }
            }
            sum
        };
        rows.map(|row| tokens.map(|token| [product(row, token, 0), product(row, token, 1)]))
    }
}
