//! `Q2_0` and `PQ2_0`: weights of 2 bits, one f16 scale per 64 or 128. `weight = d * (code - 1)`.
//!
//! ```text
//! byte 0    2                18 or 34
//!      +----+----------------+
//!      | d  | codes          |
//!      +----+----------------+
//!
//! byte m of the codes               bit 7 6   5 4   3 2   1 0
//!                                     +-----+-----+-----+-----+
//! code of weight                      |4m+3 |4m+2 |4m+1 | 4m  |
//!                                     +-----+-----+-----+-----+
//! ```
//! Code 3 is a weight of `2 d`. No quantiser of ternary weights writes it, but it is legal.
//!
//! `Q2_0` has 64 weights in a block. Files from before that was settled have 128, under the same
//! id; the reader tells them apart by the sizes of tensors and gives them the id of `PQ2_0`, which
//! the fork that had brought the type up uses for that layout now.

use half::f16;

use super::{Descriptor, Encoding, Product, Reduction, Storage, Values};

/// Blocks of 64 weights.
pub const Q2_0: Descriptor = of_block::<64>("Q2_0");
/// Blocks of 128 weights.
pub const PQ2_0: Descriptor = of_block::<128>("PQ2_0");

/// Where the codes lie in a block; the scale is at 0.
pub const CODES_AT: usize = size_of::<f16>();

/// Bytes of a block of `len` weights.
pub const fn block_bytes(len: usize) -> usize {
    CODES_AT + len / 4
}

/// Blocks of `LEN` weights.
const fn of_block<const LEN: usize>(name: &'static str) -> Descriptor {
    Descriptor {
        name,
        block_len: LEN,
        block_bytes: block_bytes(LEN),
        trailer: None,
        dequantize: dequantize_row::<LEN>,
        values: Values::Trits {
            pack: pack::<LEN>,
            unpack: unpack_codes::<LEN>,
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
    }
}

/// The scale of a block.
pub fn scale(block: &[u8]) -> f32 {
    f16::from_le_bytes([block[0], block[1]]).to_f32()
}

/// The weights of a block over its scale: -1, 0 and 1, and 2 for code 3.
fn weights(block: &[u8]) -> impl Iterator<Item = i8> {
    let codes = block[CODES_AT..].iter();
    codes.flat_map(|byte| [0, 2, 4, 6].map(|shift| (byte >> shift & 3) as i8 - 1))
}

/// Appends a row of weights (-1, 0 or 1; 2 is possible) that share a scale.
///
/// # Panics
/// If `weights` are not whole blocks.
fn pack<const LEN: usize>(weights: &[i8], scale: f32, out: &mut Vec<u8>) {
    let (whole, rest) = weights.as_chunks::<LEN>();
    assert!(
        rest.is_empty(),
        "{} weights are no whole blocks",
        weights.len()
    );
    let d = f16::from_f32(scale).to_le_bytes();
    for block in whole {
        out.extend(d);
        for four in block.as_chunks::<4>().0 {
            debug_assert!(four.iter().all(|w| (-1..=2).contains(w)));
            let [a, b, c, d] = four.map(|w| (w + 1) as u8);
            out.push(a | b << 2 | c << 4 | d << 6);
        }
    }
}

/// Reads a block as its weights over its scale.
fn unpack(block: &[u8], out: &mut [i16]) -> f32 {
    for (out, weight) in out.iter_mut().zip(weights(block)) {
        *out = i16::from(weight);
    }
    scale(block)
}

/// Reads a row as f32.
fn dequantize_row<const LEN: usize>(bytes: &[u8], out: &mut [f32]) {
    let blocks = bytes.chunks_exact(block_bytes(LEN));
    for (block, out) in blocks.zip(out.chunks_exact_mut(LEN)) {
        for (out, weight) in out.iter_mut().zip(weights(block)) {
            *out = scale(block) * f32::from(weight);
        }
    }
}

/// Reads a row as -1, 0 and 1, and 2 for code 3.
///
/// # Panics
/// If `bytes` do not hold `out.len()` weights.
fn unpack_codes<const LEN: usize>(bytes: &[u8], out: &mut [i8]) {
    let blocks = bytes.chunks_exact(block_bytes(LEN));
    assert_eq!(blocks.len() * LEN, out.len());
    for (block, out) in blocks.zip(out.chunks_exact_mut(LEN)) {
        for (out, weight) in out.iter_mut().zip(weights(block)) {
            *out = weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_lie_where_ggml_reads_them() {
        // The loop of ggml's dequantize_row_q2_0, of which that of PQ2_0 is a copy.
        for descriptor in [Q2_0, PQ2_0] {
            let len = descriptor.block_len;
            let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
            block.extend((0..len / 4).map(|i| (i * 37 + 11) as u8));
            assert_eq!(block.len(), descriptor.block_bytes);
            let mut out = vec![f32::NAN; len];
            (descriptor.dequantize)(&block, &mut out);
            for (j, out) in out.iter().enumerate() {
                let q = block[2 + j / 4] >> (2 * (j % 4)) & 3;
                assert_eq!(*out, (f32::from(q) - 1.0) * 0.5);
            }
            assert!(out.contains(&1.0), "code 3 is twice the scale");
        }
    }

    #[test]
    fn weights_survive_packing() {
        let weights: Vec<i8> = (0..256).map(|i| ((i * i + i / 7) % 4) as i8 - 1).collect();
        for descriptor in [Q2_0, PQ2_0] {
            let Values::Trits { pack, unpack } = descriptor.values else {
                panic!("ternary, but for code 3");
            };
            let (mut bytes, mut out) = (Vec::new(), vec![9; 256]);
            pack(&weights, 0.75, &mut bytes);
            unpack(&bytes, &mut out);
            assert_eq!(out, weights);
            for block in bytes.chunks(descriptor.block_bytes) {
                assert_eq!(scale(block), 0.75);
            }
        }
    }
}
