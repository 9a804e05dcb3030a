//! How the ternary formats pack their rows, as a gemm reads them.

use super::gemm::Ternary;

#[inline(always)]
fn f16(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// `I2_S`: groups of 32 bytes, one after another.
#[derive(Clone, Copy)]
pub(crate) struct I2S;

impl Ternary for I2S {
    const HIGHEST_FIRST: bool = true;
    const SCALED: Option<usize> = None;

    #[inline(always)]
    fn group<'a>(row: &'a [u8], group: usize, _room: &'a mut [u8; 32]) -> &'a [u8; 32] {
        &row.as_chunks().0[group]
    }

    #[inline(always)]
    fn scale(_row: &[u8], _block: usize) -> f32 {
        1.0
    }
}

/// `TQ2_0`: two groups and a scale.
#[derive(Clone, Copy)]
pub(crate) struct TQ2_0;

impl Ternary for TQ2_0 {
    const HIGHEST_FIRST: bool = false;
    const SCALED: Option<usize> = Some(2);

    #[inline(always)]
    fn group<'a>(row: &'a [u8], group: usize, _room: &'a mut [u8; 32]) -> &'a [u8; 32] {
        &row.as_chunks::<66>().0[group / 2].as_chunks().0[group % 2]
    }

    #[inline(always)]
    fn scale(row: &[u8], block: usize) -> f32 {
        f16(&row.as_chunks::<66>().0[block][64..])
    }
}

/// `TQ1_0`: five trits to a byte, brought into the order of [`TQ2_0`].
#[derive(Clone, Copy)]
pub(crate) struct TQ1_0;

/// The trit at the top of a byte: `byte * 3 / 256`.
#[inline(always)]
fn top(byte: u8) -> u8 {
    u8::from(byte >= 86) + u8::from(byte >= 171)
}

/// The four top trits of each byte, the first in the lowest bits.
#[inline(always)]
fn four_trits(bytes: &[u8; 32], out: &mut [u8; 32]) {
    for (byte, out) in bytes.iter().zip(out) {
        *out = top(*byte)
            | top(byte.wrapping_mul(3)) << 2
            | top(byte.wrapping_mul(9)) << 4
            | top(byte.wrapping_mul(27)) << 6;
    }
}

/// The last trit of 32 bytes, then those of 16 bytes, then those of four.
#[inline(always)]
fn last_trits(block: &[u8; 54], out: &mut [u8; 32]) {
    for (byte, out) in block.iter().zip(&mut *out) {
        *out = top(byte.wrapping_mul(81));
    }
    let (low, high) = out.split_at_mut(16);
    for (byte, (low, high)) in block[32..48].iter().zip(low.iter_mut().zip(&mut *high)) {
        *low |= top(*byte) << 2 | top(byte.wrapping_mul(9)) << 4 | top(byte.wrapping_mul(81)) << 6;
        *high |= top(byte.wrapping_mul(3)) << 2 | top(byte.wrapping_mul(27)) << 4;
    }
    for (n, high) in high.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        for (byte, high) in block[48..52].iter().zip(high) {
            *high |= top(byte.wrapping_mul([1, 3, 9, 27][n])) << 6;
        }
    }
}

impl Ternary for TQ1_0 {
    const HIGHEST_FIRST: bool = false;
    const SCALED: Option<usize> = Some(2);

    #[inline(always)]
    fn group<'a>(row: &'a [u8], group: usize, room: &'a mut [u8; 32]) -> &'a [u8; 32] {
        let block = &row.as_chunks::<54>().0[group / 2];
        if group.is_multiple_of(2) {
            four_trits(&block.as_chunks().0[0], room);
        } else {
            last_trits(block, room);
        }
        room
    }

    #[inline(always)]
    fn scale(row: &[u8], block: usize) -> f32 {
        f16(&row.as_chunks::<54>().0[block][52..])
    }
}
