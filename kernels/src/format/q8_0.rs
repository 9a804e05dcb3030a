//! `Q8_0`: 32 signed bytes that share one f16 scale. `weight = d * q`.
//!
//! ```text
//! byte   0   1   2   3        33
//!      +-------+---+---+ ... +---+
//!      |   d   |q0 |q1 |     |q31|    d: f16, little-endian
//!      +-------+---+---+ ... +---+
//! ```

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::{Descriptor, Encoding, Product, Reduction, Storage, Values, rows};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "Q8_0",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row,
    values: Values::Floats { pack },
    find_invalid_code: None,
    storage: Some(Storage::Bytes),
    product: Some(Product {
        encoding: Encoding::Q8_0,
        reduction: Reduction::BlockLanes { unpack },
        rounds_softmax_weights: false,
    }),
};

/// Weights in a block.
pub const BLOCK: usize = 32;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = size_of::<Q8_0Block>();

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q8_0Block {
    /// The scale, f16 in little-endian bytes so that a block may lie at any address.
    pub d: [u8; 2],
    /// The weights over the scale.
    pub q: [i8; BLOCK],
}

const _: () = assert!(size_of::<Q8_0Block>() == 34 && align_of::<Q8_0Block>() == 1);

impl Q8_0Block {
    /// The scale.
    pub fn scale(&self) -> f32 {
        f16::from_le_bytes(self.d).to_f32()
    }

    /// Encodes 32 weights as ggml's `quantize_row_q8_0_ref` does: the largest magnitude becomes
    /// 127, ties round away from zero, and the scale is rounded to f16 only after it was used.
    pub fn quantize(weights: &[f32; BLOCK]) -> Self {
        let largest = weights.iter().fold(0.0f32, |max, w| max.max(w.abs()));
        let d = largest / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        Self {
            d: f16::from_f32(d).to_le_bytes(),
            q: weights.map(|w| (w * inverse).round() as i8),
        }
    }
}

/// The blocks of a row.
///
/// # Panics
/// If `bytes` are not whole blocks.
pub fn blocks(bytes: &[u8]) -> &[Q8_0Block] {
    bytemuck::cast_slice(bytes)
}

/// Appends a row, encoded by [`Q8_0Block::quantize`].
///
/// # Panics
/// If `weights` are not whole blocks.
pub fn pack(weights: &[f32], out: &mut Vec<u8>) {
    rows::pack(weights, out, Q8_0Block::quantize);
}

/// Reads a block as its weights over its scale.
fn unpack(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &Q8_0Block = bytemuck::from_bytes(block);
    for (out, q) in out.iter_mut().zip(block.q) {
        *out = i16::from(q);
    }
    block.scale()
}

/// Reads a row as f32.
///
/// # Panics
/// If `bytes` do not hold `out.len()` weights.
pub fn dequantize_row(bytes: &[u8], out: &mut [f32]) {
    assert_eq!(blocks(bytes).len() * BLOCK, out.len());
    for (block, out) in blocks(bytes).iter().zip(out.chunks_exact_mut(BLOCK)) {
        for (out, q) in out.iter_mut().zip(block.q) {
            *out = block.scale() * f32::from(q);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_scale_then_weights() {
        let mut weights = [0.0; BLOCK];
        weights[0] = 127.0;
        weights[1] = -127.0;
        weights[2] = 0.5;
        weights[3] = -0.5;
        let mut bytes = Vec::new();
        pack(&weights, &mut bytes);
        assert_eq!(bytes[..6], [0x00, 0x3c, 127, 129, 1, 255]);
        assert_eq!(bytes.len(), 34);
    }

    #[test]
    fn decoding_is_within_half_a_step() {
        let weights: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin()).collect();
        let (mut bytes, mut out) = (Vec::new(), vec![f32::NAN; 64]);
        pack(&weights, &mut bytes);
        dequantize_row(&bytes, &mut out);
        // Half a step of 1/127, and the error of an f16 scale (2^-11) on top.
        let tolerance = 0.5 / 127.0 + 1.0 / 2048.0;
        for (out, weight) in out.iter().zip(&weights) {
            assert!((out - weight).abs() <= tolerance, "{out} for {weight}");
        }
    }

    #[test]
    fn zeros_stay_zero() {
        let mut bytes = Vec::new();
        pack(&[0.0; BLOCK], &mut bytes);
        assert_eq!(bytes, [0; 34]);
    }
}
