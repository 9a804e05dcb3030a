//! How the ternary formats lay out their rows, as a gemm reads them.

use bitnet_kernels::format::{tq1_0, tq2_0};

use crate::microkernel::dot::BlockDot;
use crate::microkernel::gemm::{GROUP, GROUP_BYTES, TernaryLayout};
use crate::microkernel::trits::BlockCodes;

/// `I2_S`: groups of 32 bytes, one after another.
#[derive(Clone, Copy)]
pub(crate) struct I2S;

impl TernaryLayout for I2S {
    const HIGHEST_FIRST: bool = true;
    const GROUPS_PER_SCALE: Option<usize> = None;

    #[inline(always)]
    fn bytes<'a, B: BlockDot>(
        _b: B,
        row: &'a [u8],
        i: usize,
        _unpacked: &'a mut BlockCodes,
    ) -> &'a [u8] {
        &row.as_chunks::<GROUP_BYTES>().0[i]
    }

    #[inline(always)]
    fn scale(_row: &[u8], _block: usize) -> u16 {
        0
    }
}

/// `TQ2_0`: two groups and a scale.
#[derive(Clone, Copy)]
pub(crate) struct TQ2_0;

impl TernaryLayout for TQ2_0 {
    const HIGHEST_FIRST: bool = false;
    const GROUPS_PER_SCALE: Option<usize> = Some(tq2_0::BLOCK / GROUP);

    #[inline(always)]
    fn bytes<'a, B: BlockDot>(
        _b: B,
        row: &'a [u8],
        i: usize,
        _unpacked: &'a mut BlockCodes,
    ) -> &'a [u8] {
        &row.as_chunks::<{ tq2_0::BLOCK_BYTES }>().0[i][..tq2_0::CODE_BYTES]
    }

    #[inline(always)]
    fn scale(row: &[u8], block: usize) -> u16 {
        let block = &row.as_chunks::<{ tq2_0::BLOCK_BYTES }>().0[block];
        u16::from_le_bytes([block[tq2_0::SCALE_AT], block[tq2_0::SCALE_AT + 1]])
    }
}

/// `TQ1_0`: five trits to a byte, brought into the order of [`TQ2_0`].
#[derive(Clone, Copy)]
pub(crate) struct TQ1_0;

impl TernaryLayout for TQ1_0 {
    const HIGHEST_FIRST: bool = false;
    const GROUPS_PER_SCALE: Option<usize> = Some(tq1_0::BLOCK / GROUP);

    #[inline(always)]
    fn bytes<'a, B: BlockDot>(
        b: B,
        row: &'a [u8],
        i: usize,
        unpacked: &'a mut BlockCodes,
    ) -> &'a [u8] {
        b.repack(&row.as_chunks().0[i], unpacked);
        unpacked
    }

    #[inline(always)]
    fn scale(row: &[u8], block: usize) -> u16 {
        let block = &row.as_chunks::<{ tq1_0::BLOCK_BYTES }>().0[block];
        u16::from_le_bytes([block[tq1_0::SCALE_AT], block[tq1_0::SCALE_AT + 1]])
    }
}
