//! `TQ2_0`: ternary weights in 2 bits each, one f16 scale per 256. `weight = d * (code - 1)`.
//!
//! ```text
//! byte 0         32         64   66
//!      +----------+----------+----+
//!      | half 0   | half 1   | d  |
//!      +----------+----------+----+
//!
//! byte m of half h (m < 32)         bit 7 6   5 4   3 2   1 0
//!                                     +-----+-----+-----+-----+
//! code of weight 128 h +              |m+96 |m+64 |m+32 |  m  |
//!                                     +-----+-----+-----+-----+
//! ```
//! Code 3 does not occur.

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::{Descriptor, Encoding, Product, Reduction, Storage, Values, rows};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "TQ2_0",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row,
    values: Values::Trits {
        pack,
        unpack: unpack_codes,
    },
    find_invalid_code: Some(find_invalid_code),
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
pub const BLOCK_BYTES: usize = size_of::<Tq2_0Block>();

/// Bytes of a block's codes, which come first.
pub const CODE_BYTES: usize = BLOCK / 4;
/// Where the scale lies in a block.
pub const SCALE_AT: usize = CODE_BYTES;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Tq2_0Block {
    /// Four codes to a byte.
    pub codes: [u8; CODE_BYTES],
    /// The scale, f16 in little-endian bytes so that a block may lie at any address.
    pub d: [u8; 2],
}

const _: () = assert!(size_of::<Tq2_0Block>() == 66 && align_of::<Tq2_0Block>() == 1);

impl Tq2_0Block {
    /// The scale.
    pub fn scale(&self) -> f32 {
        f16::from_le_bytes(self.d).to_f32()
    }

    /// Puts together a block from weights (-1, 0 or 1) and their scale.
    pub fn new(weights: &[i8; BLOCK], d: f16) -> Self {
        let mut codes = [0; CODE_BYTES];
        for (weight, w) in weights.iter().enumerate() {
            debug_assert!((-1..=1).contains(w), "weights are -1, 0 or 1");
            let (byte, shift) = place(weight);
            codes[byte] |= ((w + 1) as u8) << shift;
        }
        Self {
            codes,
            d: d.to_le_bytes(),
        }
    }

    /// The weights over their scale: -1, 0 and 1; code 3 becomes 2.
    pub fn unpack(&self) -> [i8; BLOCK] {
        std::array::from_fn(|weight| {
            let (byte, shift) = place(weight);
            (self.codes[byte] >> shift & 3) as i8 - 1
        })
    }
}

/// The byte and shift of a weight.
fn place(weight: usize) -> (usize, usize) {
    let (half, rest) = (weight / 128, weight % 128);
    (32 * half + rest % 32, 2 * (rest / 32))
}

/// The blocks of a row.
///
/// # Panics
/// If `bytes` are not whole blocks.
pub fn blocks(bytes: &[u8]) -> &[Tq2_0Block] {
    bytemuck::cast_slice(bytes)
}

/// Appends a row of weights (-1, 0 or 1) that share a scale.
///
/// # Panics
/// If `weights` are not whole blocks.
pub fn pack(weights: &[i8], scale: f32, out: &mut Vec<u8>) {
    let d = f16::from_f32(scale);
    rows::pack(weights, out, |block| Tq2_0Block::new(block, d));
}

/// Reads a block as its weights over its scale.
fn unpack(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &Tq2_0Block = bytemuck::from_bytes(block);
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

/// The first weight whose code is 3, counted from the start of `bytes`.
pub fn find_invalid_code(bytes: &[u8]) -> Option<usize> {
    let invalid = |byte: &u8| byte & byte >> 1 & 0b0101_0101 != 0;
    let block = blocks(bytes)
        .iter()
        .position(|block| block.codes.iter().any(invalid))?;
    let weight = blocks(bytes)[block].unpack().iter().position(|w| *w == 2)?;
    Some(block * BLOCK + weight)
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
        assert_eq!(bytes.len(), 132);
        unpack_codes(&bytes, &mut out);
        assert_eq!(out, weights);
        assert!(blocks(&bytes).iter().all(|block| block.scale() == 0.75));
        assert_eq!(find_invalid_code(&bytes), None);
    }

    #[test]
    fn bits_lie_where_ggml_reads_them() {
        // The loop of ggml's dequantize_row_tq2_0: it walks bytes and counts weights.
        let weights: [i8; BLOCK] = trits(BLOCK).try_into().unwrap();
        let block = Tq2_0Block::new(&weights, f16::ONE);
        let mut next = weights.iter();
        for j in [0, 32] {
            for l in 0..4 {
                for m in 0..32 {
                    let q = block.codes[j + m] >> (2 * l) & 3;
                    assert_eq!(q as i8 - 1, *next.next().unwrap());
                }
            }
        }
        assert!(next.next().is_none());
    }

    #[test]
    fn every_code_of_3_is_found() {
        for weight in 0..2 * BLOCK {
            let mut bytes = Vec::new();
            pack(&trits(2 * BLOCK), 1.0, &mut bytes);
            let (byte, shift) = place(weight % BLOCK);
            bytes[weight / BLOCK * 66 + byte] |= 3 << shift;
            assert_eq!(find_invalid_code(&bytes), Some(weight));
        }
    }
}
