//! `Q5_K`: 256 weights of 5 bits in 8 groups of 32. `weight = d * scale[group] * code - dmin *
//! minimum[group]`.
//!
//! ```text
//! byte 0    2      4                   16             48               176
//!      +----+------+-------------------+--------------+----------------+
//!      | d  | dmin | scales and minima | qh: fifth bit| ql: low 4 bits |
//!      +----+------+-------------------+--------------+----------------+
//! ```
//! Byte `32 k + l` of `ql` (`k < 4`, `l < 32`) has the low bits of weight `64 k + l` in its low
//! half and those of weight `64 k + 32 + l` in its high half; bits `2 k` and `2 k + 1` of byte `l`
//! of `qh` are their highest. [`Groups`](super::k_groups::Groups) says how the 12 bytes of scales
//! and minima lie.

use std::mem::offset_of;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::k_groups::{
    Block, GROUP, Head, Search, dequantize_row, nibble, pack, unpack, unpack_minima,
};
use super::{Descriptor, Encoding, Product, Reduction, Storage, Values};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "Q5_K",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row::<Q5KBlock>,
    values: Values::Floats {
        pack: pack::<Q5KBlock>,
    },
    find_invalid_code: None,
    storage: Some(Storage::BytesWithMinima),
    product: Some(Product {
        encoding: Encoding::Q8K,
        reduction: Reduction::Blocks {
            unpack: unpack::<Q5KBlock>,
            minima: Some(unpack_minima::<Q5KBlock>),
        },
        rounds_softmax_weights: true,
    }),
};

/// Weights in a block.
pub const BLOCK: usize = super::k_groups::BLOCK;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = size_of::<Q5KBlock>();

/// Where the scale of the minima lies in a block; that of the codes is at 0.
pub const DMIN_AT: usize = offset_of!(Head, dmin);
/// Where scales and minima lie in a block.
pub const GROUPS: Range<usize> = offset_of!(Head, groups)..QH.start;
/// Where the highest bits lie in a block.
pub const QH: Range<usize> = offset_of!(Q5KBlock, qh)..QL.start;
/// Where the low 4 bits lie in a block.
pub const QL: Range<usize> = offset_of!(Q5KBlock, ql)..BLOCK_BYTES;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q5KBlock {
    /// Scales and minima.
    pub head: Head,
    /// The highest bit of each code.
    pub qh: [u8; BLOCK / 8],
    /// The low 4 bits of each code.
    pub ql: [u8; BLOCK / 2],
}

const _: () = assert!(size_of::<Q5KBlock>() == 176 && align_of::<Q5KBlock>() == 1);

impl Block for Q5KBlock {
    /// As ggml's `quantize_row_q5_K_ref` does.
    const SEARCH: Search = Search {
        last: 31,
        first: -5,
        count: 15,
    };

    fn head(&self) -> &Head {
        &self.head
    }

    fn unpack(&self) -> [u8; BLOCK] {
        std::array::from_fn(|weight| {
            let (byte, shift) = nibble(weight);
            let high = self.qh[weight % GROUP] >> (weight / GROUP) & 1;
            self.ql[byte] >> shift & 15 | high << 4
        })
    }

    fn of(head: Head, codes: &[u8; BLOCK]) -> Self {
        let mut block = Self {
            head,
            qh: [0; BLOCK / 8],
            ql: [0; BLOCK / 2],
        };
        for (weight, code) in codes.iter().enumerate() {
            let (byte, shift) = nibble(weight);
            block.ql[byte] |= (code & 15) << shift;
            block.qh[weight % GROUP] |= code >> 4 << (weight / GROUP);
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::k_groups::{Groups, tests};
    use half::f16;

    #[test]
    fn bits_lie_where_ggml_reads_them() {
        // The loop of ggml's dequantize_row_q5_K: it walks bytes and counts weights.
        let block = Q5KBlock {
            head: Head {
                d: f16::ONE.to_le_bytes(),
                dmin: f16::from_f32(0.5).to_le_bytes(),
                groups: std::array::from_fn(|i| (i * 83 + 29) as u8),
            },
            qh: std::array::from_fn(|i| (i * 59 + 3) as u8),
            ql: std::array::from_fn(|i| (i * 41 + 7) as u8),
        };
        let mut out = [f32::NAN; BLOCK];
        dequantize_row::<Q5KBlock>(bytemuck::bytes_of(&block), &mut out);
        let Groups { scales, minima } = Groups::unpack(&block.head.groups);
        let mut next = out.iter();
        for (pair, bytes) in block.ql.chunks(GROUP).enumerate() {
            for (group, shift) in [(2 * pair, 0), (2 * pair + 1, 4)] {
                for (byte, high) in bytes.iter().zip(block.qh) {
                    let high = if high & 1 << group != 0 { 16 } else { 0 };
                    let code = f32::from((byte >> shift & 15) + high);
                    let weight = f32::from(scales[group]) * code - 0.5 * f32::from(minima[group]);
                    assert_eq!(*next.next().unwrap(), weight);
                }
            }
        }
        assert!(next.next().is_none());
    }

    #[test]
    fn decoding_is_within_a_step() {
        tests::decoding_is_within_a_step::<Q5KBlock>(352, 31.0);
    }

    #[test]
    fn zeros_stay_zero() {
        tests::zeros_stay_zero::<Q5KBlock>();
    }
}
