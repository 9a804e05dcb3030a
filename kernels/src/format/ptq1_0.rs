//! `PTQ1_0`: ternary weights, five to a byte, one f16 scale per 128. `weight = d * (trit - 1)`.
//!
//! ```text
//! byte 0        16         24   26   28
//!      +--------+----------+----+----+
//!      | a      | b        | c  | d  |
//!      +--------+----------+----+----+
//!  a, byte m < 16: weights       16 n + m, n = 0..5
//!  b, byte m <  8: weights  80 +  8 n + m, n = 0..5
//!  c, byte m <  2: weights 120 +  2 n + m, n = 0..4
//! ```
//! Trits lie in a byte as in [`TQ1_0`](super::tq1_0). The type belongs to PrismML's fork of
//! llama.cpp.

use std::mem::offset_of;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::tq1_0::{self, POWERS};
use super::{Descriptor, Encoding, Product, Reduction, Storage, Values, rows};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "PTQ1_0",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row,
    values: Values::Trits {
        pack,
        unpack: unpack_codes,
    },
    find_invalid_code: None,
    storage: Some(Storage::Codes),
    product: Some(Product {
        encoding: Encoding::Q8_0,
        reduction: Reduction::Blocks {
            unpack,
            minima: None,
        },
        rounds_softmax_weights: true,
    }),
};

/// Weights in a block.
pub const BLOCK: usize = 128;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = size_of::<Ptq1_0Block>();

/// Where part `a` lies in a block.
pub const PART_A: Range<usize> = 0..16;
/// Where part `b` lies in a block.
pub const PART_B: Range<usize> = PART_A.end..24;
/// Where part `c` lies in a block.
pub const PART_C: Range<usize> = PART_B.end..SCALE_AT;
/// Where the scale lies in a block.
pub const SCALE_AT: usize = offset_of!(Ptq1_0Block, d);

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ptq1_0Block {
    /// Parts `a` and `b`, five trits to a byte, and `c`, four to a byte.
    pub trits: [u8; 26],
    /// The scale, f16 in little-endian bytes so that a block may lie at any address.
    pub d: [u8; 2],
}

const _: () = assert!(size_of::<Ptq1_0Block>() == 28 && align_of::<Ptq1_0Block>() == 1);

impl Ptq1_0Block {
    /// The scale.
    pub fn scale(&self) -> f32 {
        f16::from_le_bytes(self.d).to_f32()
    }

    /// Puts together a block from weights (-1, 0 or 1) and their scale.
    pub fn new(weights: &[i8; BLOCK], d: f16) -> Self {
        let mut numbers = [0u8; 26];
        for (weight, w) in weights.iter().enumerate() {
            debug_assert!((-1..=1).contains(w), "weights are -1, 0 or 1");
            let (byte, trit) = place(weight);
            numbers[byte] += (w + 1) as u8 * POWERS[4 - trit];
        }
        Self {
            trits: numbers.map(tq1_0::fraction),
            d: d.to_le_bytes(),
        }
    }

    /// The weights over their scale: -1, 0 and 1.
    pub fn unpack(&self) -> [i8; BLOCK] {
        std::array::from_fn(|weight| {
            let (byte, trit) = place(weight);
            tq1_0::trit(self.trits[byte], trit) as i8 - 1
        })
    }
}

/// The byte and trit of a weight.
fn place(weight: usize) -> (usize, usize) {
    match weight {
        0..80 => (weight % 16, weight / 16),
        80..120 => (16 + (weight - 80) % 8, (weight - 80) / 8),
        _ => (24 + (weight - 120) % 2, (weight - 120) / 2),
    }
}

/// The blocks of a row.
///
/// # Panics
/// If `bytes` are not whole blocks.
pub fn blocks(bytes: &[u8]) -> &[Ptq1_0Block] {
    bytemuck::cast_slice(bytes)
}

/// Appends a row of weights (-1, 0 or 1) that share a scale.
///
/// # Panics
/// If `weights` are not whole blocks.
pub fn pack(weights: &[i8], scale: f32, out: &mut Vec<u8>) {
    let d = f16::from_f32(scale);
    rows::pack(weights, out, |block| Ptq1_0Block::new(block, d));
}

/// Reads a block as its weights over its scale.
fn unpack(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &Ptq1_0Block = bytemuck::from_bytes(block);
    for (out, trit) in out.iter_mut().zip(block.unpack()) {
        *out = i16::from(trit);
    }
    block.scale()
}

/// Reads a row as f32.
fn dequantize_row(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in blocks(bytes).iter().zip(out.chunks_exact_mut(BLOCK)) {
        for (out, trit) in out.iter_mut().zip(block.unpack()) {
            *out = block.scale() * f32::from(trit);
        }
    }
}

/// Reads a row as -1, 0 and 1.
///
/// # Panics
/// If `bytes` do not hold `out.len()` weights.
pub fn unpack_codes(bytes: &[u8], out: &mut [i8]) {
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
        assert_eq!(bytes.len(), 56);
        unpack_codes(&bytes, &mut out);
        assert_eq!(out, weights);
        assert!(blocks(&bytes).iter().all(|block| block.scale() == 0.75));
    }

    #[test]
    fn trits_lie_where_the_fork_reads_them() {
        // The loops of dequantize_row_ptq1_0: stages of 32 (none fits), 16 and 8 bytes, then two.
        let weights: [i8; BLOCK] = trits(BLOCK).try_into().unwrap();
        let block = Ptq1_0Block::new(&weights, f16::ONE);
        let mut next = weights.iter();
        for (bytes, trits) in [(0..16, 5), (16..24, 5), (24..26, 4)] {
            for n in 0..trits {
                for byte in &block.trits[bytes.clone()] {
                    let q = byte.wrapping_mul([1, 3, 9, 27, 81][n]);
                    assert_eq!(((u16::from(q) * 3) >> 8) as i8 - 1, *next.next().unwrap());
                }
            }
        }
        assert!(next.next().is_none());
    }
}
