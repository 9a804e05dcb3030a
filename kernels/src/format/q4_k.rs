//! `Q4_K`: 256 weights of 4 bits in 8 groups of 32. `weight = d * scale[group] * code - dmin *
//! minimum[group]`.
//!
//! ```text
//! byte 0    2      4                       16               144
//!      +----+------+-----------------------+----------------+
//!      | d  | dmin | scales and minima     | codes          |
//!      +----+------+-----------------------+----------------+
//! ```
//! Byte `32 k + l` of the codes (`k < 4`, `l < 32`) has weight `64 k + l` in its low half and
//! weight `64 k + 32 + l` in its high half. [`Groups`] says how the 12 bytes of scales and minima
//! lie.

use std::mem::offset_of;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use half::f16;

use super::k_groups::{GROUP, Groups, Search};
use super::{Descriptor, Encoding, Product, Reduction, Values};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "Q4_K",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row,
    values: Values::Floats { pack },
    find_invalid_code: None,
    product: Some(Product {
        encoding: Encoding::Q8K,
        reduction: Reduction::Blocks {
            unpack,
            minima: Some(unpack_minima),
        },
        rounds_softmax_weights: true,
    }),
};

/// Weights in a block.
pub const BLOCK: usize = super::k_groups::BLOCK;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = size_of::<Q4KBlock>();

/// Where the scale of the minima lies in a block; that of the codes is at 0.
pub const DMIN_AT: usize = offset_of!(Q4KBlock, dmin);
/// Where scales and minima lie in a block.
pub const GROUPS: Range<usize> = offset_of!(Q4KBlock, groups)..CODES.start;
/// Where the codes lie in a block.
pub const CODES: Range<usize> = offset_of!(Q4KBlock, codes)..BLOCK_BYTES;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q4KBlock {
    /// The scale, f16 in little-endian bytes so that a block may lie at any address.
    pub d: [u8; 2],
    /// The scale of the minima, likewise.
    pub dmin: [u8; 2],
    /// Scales and minima of the groups.
    pub groups: [u8; 12],
    /// Two codes to a byte.
    pub codes: [u8; BLOCK / 2],
}

const _: () = assert!(size_of::<Q4KBlock>() == 144 && align_of::<Q4KBlock>() == 1);

impl Q4KBlock {
    /// The scale.
    pub fn scale(&self) -> f32 {
        f16::from_le_bytes(self.d).to_f32()
    }

    /// The scale of the minima.
    pub fn minimum_scale(&self) -> f32 {
        f16::from_le_bytes(self.dmin).to_f32()
    }

    /// The codes, 0 to 15.
    pub fn unpack(&self) -> [u8; BLOCK] {
        std::array::from_fn(|weight| {
            let (byte, shift) = place(weight);
            self.codes[byte] >> shift & 15
        })
    }

    /// Encodes 256 weights as ggml's `quantize_row_q4_K_ref` does.
    pub fn quantize(weights: &[f32; BLOCK]) -> Self {
        let search = Search {
            last: 15,
            first: -10,
            count: 20,
        };
        let encoded = search.encode(weights);
        let mut block = Self {
            d: encoded.d.to_le_bytes(),
            dmin: encoded.dmin.to_le_bytes(),
            groups: encoded.groups.pack(),
            codes: [0; BLOCK / 2],
        };
        for (weight, code) in encoded.codes.into_iter().enumerate() {
            let (byte, shift) = place(weight);
            block.codes[byte] |= code << shift;
        }
        block
    }
}

/// The byte and shift of a weight.
fn place(weight: usize) -> (usize, usize) {
    let (pair, rest) = (weight / (2 * GROUP), weight % (2 * GROUP));
    (GROUP * pair + rest % GROUP, rest / GROUP * 4)
}

/// The blocks of a row.
///
/// # Panics
/// If `bytes` are not whole blocks.
pub fn blocks(bytes: &[u8]) -> &[Q4KBlock] {
    bytemuck::cast_slice(bytes)
}

/// Appends a row, encoded by [`Q4KBlock::quantize`].
///
/// # Panics
/// If `weights` are not whole blocks.
pub fn pack(weights: &[f32], out: &mut Vec<u8>) {
    let (whole, rest) = weights.as_chunks();
    assert!(
        rest.is_empty(),
        "{} weights are no whole blocks",
        weights.len()
    );
    for block in whole {
        out.extend(bytemuck::bytes_of(&Q4KBlock::quantize(block)));
    }
}

/// Reads a block as its codes, scales of groups applied.
fn unpack(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &Q4KBlock = bytemuck::from_bytes(block);
    let scales = Groups::unpack(&block.groups).scales;
    for (weight, (out, code)) in out.iter_mut().zip(block.unpack()).enumerate() {
        *out = i16::from(scales[weight / GROUP]) * i16::from(code);
    }
    block.scale()
}

/// Reads what is taken off each weight of a block.
fn unpack_minima(block: &[u8], out: &mut [i16]) -> f32 {
    let block: &Q4KBlock = bytemuck::from_bytes(block);
    let minima = Groups::unpack(&block.groups).minima;
    for (out, minimum) in out.chunks_exact_mut(GROUP).zip(minima) {
        out.fill(i16::from(minimum));
    }
    block.minimum_scale()
}

/// Reads a row as f32.
///
/// # Panics
/// If `bytes` do not hold `out.len()` weights.
pub fn dequantize_row(bytes: &[u8], out: &mut [f32]) {
    assert_eq!(blocks(bytes).len() * BLOCK, out.len());
    for (block, out) in blocks(bytes).iter().zip(out.chunks_exact_mut(BLOCK)) {
        let Groups { scales, minima } = Groups::unpack(&block.groups);
        for (weight, (out, code)) in out.iter_mut().zip(block.unpack()).enumerate() {
            let (scale, minimum) = (scales[weight / GROUP], minima[weight / GROUP]);
            *out = block.scale() * f32::from(scale) * f32::from(code)
                - block.minimum_scale() * f32::from(minimum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_where_ggml_reads_them() {
        // The loop of ggml's dequantize_row_q4_K: it walks bytes and counts weights.
        let block = Q4KBlock {
            d: f16::ONE.to_le_bytes(),
            dmin: f16::from_f32(0.5).to_le_bytes(),
            groups: std::array::from_fn(|i| (i * 83 + 29) as u8),
            codes: std::array::from_fn(|i| (i * 41 + 7) as u8),
        };
        let mut out = [f32::NAN; BLOCK];
        dequantize_row(bytemuck::bytes_of(&block), &mut out);
        let Groups { scales, minima } = Groups::unpack(&block.groups);
        let mut next = out.iter();
        for (pair, bytes) in block.codes.chunks(GROUP).enumerate() {
            for (group, shift) in [(2 * pair, 0), (2 * pair + 1, 4)] {
                for byte in bytes {
                    let code = f32::from(byte >> shift & 15);
                    let weight = f32::from(scales[group]) * code - 0.5 * f32::from(minima[group]);
                    assert_eq!(*next.next().unwrap(), weight);
                }
            }
        }
        assert!(next.next().is_none());
    }

    #[test]
    fn decoding_is_within_a_step() {
        let weights: Vec<f32> = (0..2 * BLOCK)
            .map(|i| (i as f32 * 0.731).sin() * (0.2 + (i / GROUP % 8) as f32 * 0.1) + 0.1)
            .collect();
        let (mut bytes, mut out) = (Vec::new(), vec![f32::NAN; 2 * BLOCK]);
        pack(&weights, &mut bytes);
        assert_eq!(bytes.len(), 288);
        dequantize_row(&bytes, &mut out);
        for (out, weights) in out.chunks(GROUP).zip(weights.chunks(GROUP)) {
            let least = weights.iter().copied().fold(0.0, f32::min);
            let most = weights.iter().copied().fold(0.0, f32::max);
            // A step is a 15th of the group's range. Scales and minima of six bits add a 63rd of
            // the block's largest.
            let tolerance = (most - least) / 15.0 + 0.03;
            for (out, weight) in out.iter().zip(weights) {
                assert!((out - weight).abs() <= tolerance, "{out} for {weight}");
            }
        }
    }

    #[test]
    fn zeros_stay_zero() {
        let (mut bytes, mut out) = (Vec::new(), [f32::NAN; BLOCK]);
        pack(&[0.0; BLOCK], &mut bytes);
        dequantize_row(&bytes, &mut out);
        assert_eq!(out, [0.0; BLOCK]);
    }
}
