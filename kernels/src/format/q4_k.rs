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
//! weight `64 k + 32 + l` in its high half. [`Groups`](super::k_groups::Groups) says how the 12
//! bytes of scales and minima lie.

use std::mem::offset_of;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::k_groups::{Block, Head, Search, dequantize_row, nibble, pack, unpack, unpack_minima};
use super::{Descriptor, Encoding, Product, Reduction, Storage, Values};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "Q4_K",
    block_len: BLOCK,
    block_bytes: BLOCK_BYTES,
    trailer: None,
    dequantize: dequantize_row::<Q4KBlock>,
    values: Values::Floats {
        pack: pack::<Q4KBlock>,
    },
    find_invalid_code: None,
    storage: Some(Storage::BytesWithMinima),
    product: Some(Product {
        encoding: Encoding::Q8K,
        reduction: Reduction::Blocks {
            unpack: unpack::<Q4KBlock>,
            minima: Some(unpack_minima::<Q4KBlock>),
        },
        rounds_softmax_weights: true,
    }),
};

/// Weights in a block.
pub const BLOCK: usize = super::k_groups::BLOCK;

/// Bytes of a block.
pub const BLOCK_BYTES: usize = size_of::<Q4KBlock>();

/// Where the scale of the minima lies in a block; that of the codes is at 0.
pub const DMIN_AT: usize = offset_of!(Head, dmin);
/// Where scales and minima lie in a block.
pub const GROUPS: Range<usize> = offset_of!(Head, groups)..CODES.start;
/// Where the codes lie in a block.
pub const CODES: Range<usize> = offset_of!(Q4KBlock, codes)..BLOCK_BYTES;

/// A block as it lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Q4KBlock {
    /// Scales and minima.
    pub head: Head,
    /// Two codes to a byte.
    pub codes: [u8; BLOCK / 2],
}

const _: () = assert!(size_of::<Q4KBlock>() == 144 && align_of::<Q4KBlock>() == 1);

impl Block for Q4KBlock {
    /// As ggml's `quantize_row_q4_K_ref` does.
    const SEARCH: Search = Search {
        last: 15,
        first: -10,
        count: 20,
    };

    fn head(&self) -> &Head {
        &self.head
    }

    fn unpack(&self) -> [u8; BLOCK] {
        std::array::from_fn(|weight| {
            let (byte, shift) = nibble(weight);
            self.codes[byte] >> shift & 15
        })
    }

    fn of(head: Head, codes: &[u8; BLOCK]) -> Self {
        let mut block = Self {
            head,
            codes: [0; BLOCK / 2],
        };
        for (weight, code) in codes.iter().enumerate() {
            let (byte, shift) = nibble(weight);
            block.codes[byte] |= code << shift;
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::k_groups::{GROUP, Groups, tests};
    use half::f16;

    #[test]
    fn bits_lie_where_ggml_reads_them() {
        // The loop of ggml's dequantize_row_q4_K: it walks bytes and counts weights.
        let block = Q4KBlock {
            head: Head {
                d: f16::ONE.to_le_bytes(),
                dmin: f16::from_f32(0.5).to_le_bytes(),
                groups: std::array::from_fn(|i| (i * 83 + 29) as u8),
            },
            codes: std::array::from_fn(|i| (i * 41 + 7) as u8),
        };
        let mut out = [f32::NAN; BLOCK];
        dequantize_row::<Q4KBlock>(bytemuck::bytes_of(&block), &mut out);
        let Groups { scales, minima } = Groups::unpack(&block.head.groups);
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
        tests::decoding_is_within_a_step::<Q4KBlock>(288, 15.0);
    }

    #[test]
    fn zeros_stay_zero() {
        tests::zeros_stay_zero::<Q4KBlock>();
    }
}
