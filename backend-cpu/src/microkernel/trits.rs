//! `TQ1_0` and `PTQ1_0`, five trits to a byte, as codes of two bits: the first in the order of
//! `TQ2_0`.

use bitnet_kernels::format::{ptq1_0, tq1_0, tq2_0};

use crate::microkernel::runs::Runs;

/// The codes of a block of `TQ2_0`, the order in which scaled ternary formats are packed.
pub(crate) type BlockCodes = [u8; tq2_0::CODE_BYTES];

/// The first trit of a byte, `byte * 3 / 256`.
#[inline(always)]
const fn leading(byte: u8) -> u8 {
    (byte >= 86) as u8 + (byte >= 171) as u8
}

/// What is left of a byte without its leading trit.
#[inline(always)]
const fn rest(byte: u8) -> u8 {
    // Additions, because vectors of bytes cannot be multiplied.
    byte.wrapping_add(byte).wrapping_add(byte)
}

/// The first four trits of a byte, the first in the lowest bits, and its fifth.
#[inline(always)]
pub(crate) const fn trits(byte: u8) -> (u8, u8) {
    let second = rest(byte);
    let third = rest(second);
    let fourth = rest(third);
    let four = leading(byte) | leading(second) << 2 | leading(third) << 4 | leading(fourth) << 6;
    (four, leading(rest(fourth)))
}

/// A block of `TQ1_0` in the order of `TQ2_0`.
#[inline(always)]
pub(crate) fn repack(block: &[u8; tq1_0::BLOCK_BYTES], out: &mut BlockCodes) {
    let (first, second) = out.split_at_mut(tq2_0::CODE_BYTES / 2);
    // 32 bytes hold the first 128 weights and 32 more.
    let a = &block[tq1_0::PART_A];
    for (byte, (first, second)) in a.iter().zip(first.iter_mut().zip(&mut *second)) {
        (*first, *second) = trits(*byte);
    }
    // 16 bytes hold the next 80, in runs of 16.
    let (low, high) = second.split_at_mut(tq1_0::PART_B.len());
    for (byte, (low, high)) in block[tq1_0::PART_B]
        .iter()
        .zip(low.iter_mut().zip(&mut *high))
    {
        let (four, fifth) = trits(*byte);
        *low |= (four & 3) << 2 | (four & 0x30) | fifth << 6;
        *high |= (four & 0xc) | (four & 0xc0) >> 2;
    }
    // Four bytes hold the last 16, in runs of four.
    for (n, run) in high.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        for (byte, high) in block[tq1_0::PART_C].iter().zip(run) {
            let (four, _) = trits(*byte);
            *high |= (four >> (2 * n) & 3) << 6;
        }
    }
}

/// A block of `PTQ1_0` as `BlockDot::unpack_ptq1_0` has it.
#[inline(always)]
pub(crate) fn unpack_ptq1_0(block: &[u8; ptq1_0::BLOCK_BYTES], out: &mut Runs) {
    let [first, second] = out;
    let (third, fourth) = second.split_at_mut(8);
    // 16 bytes hold the first 80 weights, in runs of 16.
    let (low, high) = block[ptq1_0::PART_A].split_at(8);
    for (m, (low, high)) in low.iter().zip(high).enumerate() {
        let ((four, fifth), (four_high, fifth_high)) = (trits(*low), trits(*high));
        let two = |n: usize, four: u8| four >> (4 * n) & 3 | (four >> (4 * n + 2) & 3) << 4;
        first[m] = two(0, four) | two(0, four_high) << 2;
        first[m + 8] = two(1, four) | two(1, four_high) << 2;
        third[m] = fifth | fifth_high << 2;
    }
    // Eight bytes hold the next 40, in runs of eight.
    for (m, byte) in block[ptq1_0::PART_B].iter().enumerate() {
        let (four, fifth) = trits(*byte);
        third[m] |= (four & 0xf) << 4;
        fourth[m] = four >> 4 | fifth << 4;
    }
    // Two bytes hold the last eight, in runs of two.
    for (m, byte) in block[ptq1_0::PART_C].iter().enumerate() {
        let (four, _) = trits(*byte);
        for n in 0..4 {
            fourth[2 * n + m] |= (four >> (2 * n) & 3) << 6;
        }
    }
}
