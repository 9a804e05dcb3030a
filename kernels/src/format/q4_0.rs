//! `Q4_0`: 32 weights of 4 bits and one f16 scale. `weight = d * (code - 8)`.
//!
//! ```text
//! byte 0    2                18
//!      +----+----------------+
//!      | d  | codes          |     byte m: weight m in the low half, weight m + 16 in the high
//! half
//!      +----+----------------+
//! ```

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::{Descriptor, Encoding, Product, Reduction, Storage, Values, rows};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "Q4_0",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row,
    values: Values::Floats { pack },
    find_invalid_code: None,
    storage: Some(Storage::Bytes),
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
pub const BLOCK: usize = 32;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = size_of::<Q4_0Block>();

/// Where the codes lie in a block; the scale is at 0.
pub const CODES_AT: usize = offset_of!(Q4_0Block, codes);

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q4_0Block {
    /// The scale, f16 in little-endian bytes so that a block may lie at any address.
    pub d: [u8; 2],
    /// Two codes to a byte.
    pub codes: [u8; BLOCK / 2],
}

const _: () = assert!(size_of::<Q4_0Block>() == 18 && align_of::<Q4_0Block>() == 1);

impl Q4_0Block {
    /// The scale.
    pub fn scale(&self) -> f32 {
        f16::from_le_bytes(self.d).to_f32()
    }

    /// The weights over their scale, -8 to 7.
    pub fn unpack(&self) -> [i8; BLOCK] {
        std::array::from_fn(|i| (self.codes[i % 16] >> (i / 16 * 4) & 15) as i8 - 8)
    }

    /// Encodes 32 weights as ggml's `quantize_row_q4_0_ref` does: the one of largest magnitude
    /// becomes -8.
    pub fn quantize(weights: &[f32; BLOCK]) -> Self {
        let largest = weights
            .iter()
            .fold(0.0f32, |max, w| if w.abs() > max.abs() { *w } else { max });
        let d = largest / -8.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        let code = |weight: f32| (weight * inverse + 8.5).clamp(0.0, 15.0) as u8;
        Self {
            d: f16::from_f32(d).to_le_bytes(),
            codes: std::array::from_fn(|m| code(weights[m]) | code(weights[m + 16]) << 4),
        }
    }
}

/// The blocks of a row.
///
/// # Panics
/// If `bytes` are not whole blocks.
pub fn blocks(bytes: &[u8]) -> &[Q4_0Block] {
    bytemuck::cast_slice(bytes)
}

/// Appends a row, encoded by [`Q4_0Block::quantize`].
///
/// # Panics
/// If `weights` are not whole blocks.
pub fn pack(weights: &[f32], out: &mut Vec<u8>) {
    rows::pack(weights, out, Q4_0Block::quantize);
}

/// Reads a block as its weights over its scale.
fn unpack(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &Q4_0Block = bytemuck::from_bytes(block);
    for (out, weight) in out.iter_mut().zip(block.unpack()) {
        *out = i16::from(weight);
    }
    block.scale()
}

/// Reads a row as f32.
fn dequantize_row(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in blocks(bytes).iter().zip(out.chunks_exact_mut(BLOCK)) {
        for (out, weight) in out.iter_mut().zip(block.unpack()) {
            *out = block.scale() * f32::from(weight);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_where_ggml_reads_them() {
        // The loop of ggml's dequantize_row_q4_0, which gives two weights for each byte.
        let block = Q4_0Block {
            d: f16::from_f32(0.5).to_le_bytes(),
            codes: std::array::from_fn(|i| (i * 37 + 11) as u8),
        };
        let mut out = [f32::NAN; BLOCK];
        dequantize_row(bytemuck::bytes_of(&block), &mut out);
        for (j, byte) in block.codes.iter().enumerate() {
            assert_eq!(out[j], (f32::from(byte & 15) - 8.0) * 0.5);
            assert_eq!(out[j + 16], (f32::from(byte >> 4) - 8.0) * 0.5);
        }
    }

    #[test]
    fn the_largest_weight_becomes_minus_eight() {
        let mut weights = [0.0; BLOCK];
        (weights[3], weights[20]) = (4.0, -3.5);
        let block = Q4_0Block::quantize(&weights);
        assert_eq!(block.scale(), -0.5);
        let unpacked = block.unpack();
        assert_eq!((unpacked[3], unpacked[20], unpacked[0]), (-8, 7, 0));
    }
}
