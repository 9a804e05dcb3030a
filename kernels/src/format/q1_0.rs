//! `Q1_0`: signs of 128 weights and one f16 scale. `weight` is `d` where the bit is 1, `-d` where
//! it is 0: there is no zero.
//!
//! ```text
//! byte 0    2                18
//!      +----+----------------+
//!      | d  | signs          |     weight i: bit i % 8 of byte i / 8, from the lowest on
//!      +----+----------------+
//! ```

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::{Descriptor, Encoding, Product, Reduction, Storage, Values, rows};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "Q1_0",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row,
    values: Values::Floats { pack },
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
pub const BLOCK_BYTES: usize = size_of::<Q1_0Block>();

/// Where the signs lie in a block; the scale is at 0.
pub const SIGNS_AT: usize = offset_of!(Q1_0Block, signs);

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q1_0Block {
    /// The scale, f16 in little-endian bytes so that a block may lie at any address.
    pub d: [u8; 2],
    /// A bit for each weight.
    pub signs: [u8; BLOCK / 8],
}

const _: () = assert!(size_of::<Q1_0Block>() == 18 && align_of::<Q1_0Block>() == 1);

impl Q1_0Block {
    /// The scale.
    pub fn scale(&self) -> f32 {
        f16::from_le_bytes(self.d).to_f32()
    }

    /// The weights over their scale: -1 and 1.
    pub fn unpack(&self) -> [i8; BLOCK] {
        std::array::from_fn(|i| {
            if self.signs[i / 8] >> (i % 8) & 1 == 1 {
                1
            } else {
                -1
            }
        })
    }

    /// Encodes 128 weights as ggml's `quantize_row_q1_0_ref` does: the scale is the mean magnitude,
    /// and 0 counts as positive.
    pub fn quantize(weights: &[f32; BLOCK]) -> Self {
        let sum = weights.iter().fold(0.0, |sum, weight| sum + weight.abs());
        let mut block = Self {
            d: f16::from_f32(sum / BLOCK as f32).to_le_bytes(),
            signs: [0; BLOCK / 8],
        };
        for (i, weight) in weights.iter().enumerate() {
            block.signs[i / 8] |= u8::from(*weight >= 0.0) << (i % 8);
        }
        block
    }
}

/// The blocks of a row.
///
/// # Panics
/// If `bytes` are not whole blocks.
pub fn blocks(bytes: &[u8]) -> &[Q1_0Block] {
    bytemuck::cast_slice(bytes)
}

/// Appends a row, encoded by [`Q1_0Block::quantize`].
///
/// # Panics
/// If `weights` are not whole blocks.
pub fn pack(weights: &[f32], out: &mut Vec<u8>) {
    rows::pack(weights, out, Q1_0Block::quantize);
}

/// Reads a block as its weights over its scale.
fn unpack(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &Q1_0Block = bytemuck::from_bytes(block);
    for (out, sign) in out.iter_mut().zip(block.unpack()) {
        *out = i16::from(sign);
    }
    block.scale()
}

/// Reads a row as f32.
fn dequantize_row(bytes: &[u8], out: &mut [f32]) {
    for (block, out) in blocks(bytes).iter().zip(out.chunks_exact_mut(BLOCK)) {
        for (out, sign) in out.iter_mut().zip(block.unpack()) {
            *out = block.scale() * f32::from(sign);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_where_ggml_reads_them() {
        // The loop of ggml's dequantize_row_q1_0.
        let block = Q1_0Block {
            d: f16::from_f32(0.5).to_le_bytes(),
            signs: std::array::from_fn(|i| (i * 37 + 11) as u8),
        };
        let mut out = [f32::NAN; BLOCK];
        dequantize_row(bytemuck::bytes_of(&block), &mut out);
        for (j, out) in out.iter().enumerate() {
            let bit = block.signs[j / 8] >> (j % 8) & 1;
            assert_eq!(*out, if bit == 1 { 0.5 } else { -0.5 });
        }
    }

    #[test]
    fn the_scale_is_the_mean_magnitude() {
        let weights: [f32; BLOCK] = std::array::from_fn(|i| [1.0, -2.0, 3.0, 0.0][i % 4]);
        let block = Q1_0Block::quantize(&weights);
        assert_eq!(block.scale(), 1.5);
        assert_eq!(block.unpack()[..4], [1, -1, 1, 1]);
    }
}
