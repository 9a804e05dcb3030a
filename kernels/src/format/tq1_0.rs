//! `TQ1_0`: ternary weights, five to a byte, one f16 scale per 256. `weight = d * (trit - 1)`.
//!
//! ```text
//! byte 0               32         48   52   54
//!      +----------------+----------+----+----+
//!      | a              | b        | c  | d  |
//!      +----------------+----------+----+----+
//!  a, byte m < 32: weights       32 n + m, n = 0..5
//!  b, byte m < 16: weights 160 + 16 n + m, n = 0..5
//!  c, byte m <  4: weights 240 +  4 n + m, n = 0..4
//! ```
//! A byte is the number that its trits `t0 t1 t2 t3 t4` write in base 3, first one most
//! significant, read as a fraction of 243 and stored as one of 256, rounded up: `ceil(256 / 243 *
//! t0t1t2t3t4)`. Multiplying by `3^n` modulo 256 brings trit `n` to the front, and the carry of one
//! more multiplication by 3 is that trit. Every byte decodes to trits 0, 1, 2: there is no invalid
//! code.

use std::mem::offset_of;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::{Descriptor, Encoding, Product, Reduction, Storage, Values, rows};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "TQ1_0",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row,
    values: Values::Trits {
        pack,
        unpack: unpack_codes,
    },
    find_invalid_code: None,
    storage: Some(Storage::ScaledTrits),
    product: Some(Product {
        encoding: Encoding::Q8K,
        reduction: Reduction::Blocks {
            unpack,
            minima: None,
        },
        rounds_softmax_weights: true,
    }),
};

/// Weights in a block.
pub const BLOCK: usize = 256;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = size_of::<Tq1_0Block>();

/// Where part `a` lies in a block.
pub const PART_A: Range<usize> = 0..32;
/// Where part `b` lies in a block.
pub const PART_B: Range<usize> = PART_A.end..offset_of!(Tq1_0Block, qh);
/// Where part `c` lies in a block.
pub const PART_C: Range<usize> = PART_B.end..SCALE_AT;
/// Where the scale lies in a block.
pub const SCALE_AT: usize = offset_of!(Tq1_0Block, d);

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tq1_0Block {
    /// Parts `a` and `b`, five trits to a byte.
    pub qs: [u8; 48],
    /// Part `c`, four trits to a byte.
    pub qh: [u8; 4],
    /// The scale, f16 in little-endian bytes so that a block may lie at any address.
    pub d: [u8; 2],
}

const _: () = assert!(size_of::<Tq1_0Block>() == 54 && align_of::<Tq1_0Block>() == 1);

/// Powers of three: multiplied by the `n`th, a byte has its `n`th trit on top.
pub const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// The byte that stores a number below 243.
pub(super) const fn fraction(number: u8) -> u8 {
    (number as u16 * 256).div_ceil(243) as u8
}

/// Trit `n` of a byte.
pub(super) const fn trit(byte: u8, n: usize) -> u8 {
    ((byte.wrapping_mul(POWERS[n]) as u16 * 3) >> 8) as u8
}

impl Tq1_0Block {
    /// The scale.
    pub fn scale(&self) -> f32 {
        f16::from_le_bytes(self.d).to_f32()
    }

    /// Puts together a block from weights (-1, 0 or 1) and their scale.
    pub fn new(weights: &[i8; BLOCK], d: f16) -> Self {
        // Base-3 numbers first, then as fractions of 256.
        let mut numbers = [0u8; 52];
        for (weight, w) in weights.iter().enumerate() {
            debug_assert!((-1..=1).contains(w), "weights are -1, 0 or 1");
            let (byte, trit) = place(weight);
            numbers[byte] += (w + 1) as u8 * POWERS[4 - trit];
        }
        let bytes = numbers.map(fraction);
        Self {
            qs: std::array::from_fn(|m| bytes[m]),
            qh: std::array::from_fn(|m| bytes[48 + m]),
            d: d.to_le_bytes(),
        }
    }

    /// The weights over their scale: -1, 0 and 1.
    pub fn unpack(&self) -> [i8; BLOCK] {
        std::array::from_fn(|weight| {
            let (byte, trit) = place(weight);
            let stored = if byte < 48 {
                self.qs[byte]
            } else {
                self.qh[byte - 48]
            };
            self::trit(stored, trit) as i8 - 1
        })
    }
}

/// The byte and trit of a weight, `qh` being bytes 48 to 51.
fn place(weight: usize) -> (usize, usize) {
    match weight {
        0..160 => (weight % 32, weight / 32),
        160..240 => (32 + (weight - 160) % 16, (weight - 160) / 16),
        _ => (48 + (weight - 240) % 4, (weight - 240) / 4),
    }
}

/// The blocks of a row.
///
/// # Panics
/// If `bytes` are not whole blocks.
pub fn blocks(bytes: &[u8]) -> &[Tq1_0Block] {
    bytemuck::cast_slice(bytes)
}

/// Appends a row of weights (-1, 0 or 1) that share a scale.
///
/// # Panics
/// If `weights` are not whole blocks.
pub fn pack(weights: &[i8], scale: f32, out: &mut Vec<u8>) {
    let d = f16::from_f32(scale);
    rows::pack(weights, out, |block| Tq1_0Block::new(block, d));
}

/// Reads a block as its weights over its scale.
fn unpack(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &Tq1_0Block = bytemuck::from_bytes(block);
    for (out, trit) in out.iter_mut().zip(block.unpack()) {
        *out = i16::from(trit);
    }
    block.scale()
}

/// Reads a row as f32.
fn dequantize_row(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in blocks(bytes).iter().zip(out.chunks_mut(BLOCK)) {
        for (out, trit) in out.iter_mut().zip(block.unpack()) {
            *out = block.scale() * f32::from(trit);
        }
    }
}

/// Reads a row as -1, 0 and 1.
///
/// # Panics
/// If `bytes` do not hold `out.len()` weights.
pub(crate) fn unpack_codes(bytes: &[u8], out: &mut [i8]) {
    assert_eq!(blocks(bytes).len() * BLOCK, out.len());
    for (block, out) in blocks(bytes).iter().zip(out.chunks_exact_mut(BLOCK)) {
        out.copy_from_slice(&block.unpack());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trits(len: usize) -> Vec<i8> {
        (0..len).map(|i| ((i * i + i / 7) % 3) as i8 - 1).collect()
    }

    #[test]
    fn weights_survive_packing() {
        let weights = trits(2 * BLOCK);
        let (mut bytes, mut out) = (Vec::new(), vec![9; 2 * BLOCK]);
        pack(&weights, 0.75, &mut bytes);
        assert_eq!(bytes.len(), 108);
        unpack_codes(&bytes, &mut out);
        assert_eq!(out, weights);
        assert!(blocks(&bytes).iter().all(|block| block.scale() == 0.75));
    }

    #[test]
    fn every_combination_of_trits_survives() {
        // Five trits of one byte of part a count through all 243 numbers; the other bytes repeat
        // them shifted.
        for number in 0..243usize {
            let mut weights = [0; BLOCK];
            for (weight, w) in weights.iter_mut().enumerate() {
                let (byte, trit) = place(weight);
                let digits = (number + byte) % 243;
                *w = (digits / usize::from(POWERS[4 - trit]) % 3) as i8 - 1;
            }
            assert_eq!(Tq1_0Block::new(&weights, f16::ONE).unpack(), weights);
        }
    }

    #[test]
    fn trits_lie_where_ggml_reads_them() {
        // The loops of ggml's dequantize_row_tq1_0: they walk bytes and count weights.
        let weights: [i8; BLOCK] = trits(BLOCK).try_into().unwrap();
        let block = Tq1_0Block::new(&weights, f16::ONE);
        let mut next = weights.iter();
        let mut check = |byte: u8, n: usize| {
            let q = byte.wrapping_mul(POWERS[n]);
            assert_eq!(((u16::from(q) * 3) >> 8) as i8 - 1, *next.next().unwrap());
        };
        for n in 0..5 {
            block.qs[..32].iter().for_each(|byte| check(*byte, n));
        }
        for n in 0..5 {
            block.qs[32..].iter().for_each(|byte| check(*byte, n));
        }
        for n in 0..4 {
            block.qh.iter().for_each(|byte| check(*byte, n));
        }
        assert!(next.next().is_none());
    }

    #[test]
    fn every_byte_decodes_to_trits() {
        for byte in 0..=255 {
            let block = Tq1_0Block {
                qs: [byte; 48],
                qh: [byte; 4],
                d: [0; 2],
            };
            assert!(block.unpack().iter().all(|w| (-1..=1).contains(w)));
        }
    }
}
