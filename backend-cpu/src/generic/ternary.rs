//! How the ternary formats pack their rows, as a gemm reads them.

use crate::microkernel::dot::BlockDot;
use crate::microkernel::gemm::Ternary;

/// `I2_S`: groups of 32 bytes, one after another.
#[derive(Clone, Copy)]
pub(crate) struct I2S;

impl Ternary for I2S {
    const HIGHEST_FIRST: bool = true;
    const SCALED: Option<usize> = None;

    #[inline(always)]
    fn bytes<'a, B: BlockDot>(_b: B, row: &'a [u8], i: usize, _room: &'a mut [u8; 64]) -> &'a [u8] {
        &row.as_chunks::<32>().0[i]
    }

    #[inline(always)]
    fn scale(_row: &[u8], _block: usize) -> u16 {
        0
    }
}

/// `TQ2_0`: two groups and a scale.
#[derive(Clone, Copy)]
pub(crate) struct TQ2_0;

impl Ternary for TQ2_0 {
    const HIGHEST_FIRST: bool = false;
    const SCALED: Option<usize> = Some(2);

    #[inline(always)]
    fn bytes<'a, B: BlockDot>(_b: B, row: &'a [u8], i: usize, _room: &'a mut [u8; 64]) -> &'a [u8] {
        &row.as_chunks::<66>().0[i][..64]
    }

    #[inline(always)]
    fn scale(row: &[u8], block: usize) -> u16 {
        let block = &row.as_chunks::<66>().0[block];
        u16::from_le_bytes([block[64], block[65]])
    }
}

/// `TQ1_0`: five trits to a byte, brought into the order of [`TQ2_0`].
#[derive(Clone, Copy)]
pub(crate) struct TQ1_0;

impl Ternary for TQ1_0 {
    const HIGHEST_FIRST: bool = false;
    const SCALED: Option<usize> = Some(2);

    #[inline(always)]
    fn bytes<'a, B: BlockDot>(b: B, row: &'a [u8], i: usize, room: &'a mut [u8; 64]) -> &'a [u8] {
        b.repack(&row.as_chunks().0[i], room);
        room
    }

    #[inline(always)]
    fn scale(row: &[u8], block: usize) -> u16 {
        let block = &row.as_chunks::<54>().0[block];
        u16::from_le_bytes([block[52], block[53]])
    }
}
