//! `I2_S`: ternary weights in 2 bits each, one f32 scale for the whole tensor. `weight = scale *
//! (code - 1)`.
//!
//! The tensor is one flat run of groups, 128 weights in 32 bytes; rows follow one another without
//! padding.
//!
//! ```text
//! byte m of a group (m < 32)        bit 7 6   5 4   3 2   1 0
//!                                     +-----+-----+-----+-----+
//! code of weight                      |  m  |m+32 |m+64 |m+96 |
//!                                     +-----+-----+-----+-----+
//! after the last group: f32 scale, then 28 bytes that mean nothing
//! ```
//! Code 3 does not occur. Some builds of bitnet.cpp write other orders of the same size; the file
//! does not say so, and the published models use this one.

use super::{Descriptor, Encoding, Product, Reduction, Storage, Trailer, Values};

/// See the module.
pub const DESCRIPTOR: Descriptor = Descriptor {
    name: "I2_S",
    block_len: GROUP,
    block_bytes: GROUP_BYTES,
    trailer: Some(Trailer {
        bytes: TRAILER_BYTES,
        split,
        pack: pack_trailer,
    }),
    dequantize: dequantize_row,
    values: Values::Trits {
        pack: |weights, _, out| pack_groups(weights, out),
        unpack: unpack_groups,
    },
    find_invalid_code: Some(find_invalid_code),
    storage: Some(Storage::Trits),
    product: Some(Product {
        encoding: Encoding::I8,
        reduction: Reduction::Tensor,
        rounds_softmax_weights: false,
    }),
};

/// Weights in a group. A row must be a multiple of it.
pub const GROUP: usize = 128;

/// Bytes of a group.
pub const GROUP_BYTES: usize = 32;

/// Bytes after the last group: the scale and what rounds it up to 32.
pub const TRAILER_BYTES: usize = 32;

/// Appends groups of weights (-1, 0 or 1). Call it row by row, then [`pack_trailer`] once.
///
/// # Panics
/// If `weights` are not whole groups.
pub fn pack_groups(weights: &[i8], out: &mut Vec<u8>) {
    let (groups, rest) = weights.as_chunks::<GROUP>();
    assert!(
        rest.is_empty(),
        "{} weights are no whole groups",
        weights.len()
    );
    for group in groups {
        out.extend((0..GROUP_BYTES).map(|m| {
            (0..4).fold(0, |byte, quarter| {
                let code = (group[32 * quarter + m] + 1) as u8;
                debug_assert!(code < 3, "weights are -1, 0 or 1");
                byte | code << (6 - 2 * quarter)
            })
        }));
    }
}

/// Appends what ends a tensor: its scale, then zeros.
pub fn pack_trailer(scale: f32, out: &mut Vec<u8>) {
    out.extend(scale.to_le_bytes());
    out.extend([0; TRAILER_BYTES - 4]);
}

/// Splits a tensor's bytes into its groups and its scale; `None` if they are too short for a scale.
pub fn split(tensor: &[u8]) -> Option<(&[u8], f32)> {
    let (groups, trailer) = tensor.split_at_checked(tensor.len().checked_sub(TRAILER_BYTES)?)?;
    let scale = trailer.first_chunk()?;
    Some((groups, f32::from_le_bytes(*scale)))
}

/// Decodes groups, without the tensor's scale.
fn dequantize_row(groups: &[u8], out: &mut [f32]) {
    let mut trits = [0; GROUP];
    for (group, out) in groups.chunks(GROUP_BYTES).zip(out.chunks_mut(GROUP)) {
        unpack_groups(group, &mut trits);
        for (out, trit) in out.iter_mut().zip(trits) {
            *out = f32::from(trit);
        }
    }
}
/// Reads groups as -1, 0 and 1; code 3 becomes 2.
///
/// # Panics
/// If `groups` do not hold `out.len()` weights.
pub fn unpack_groups(groups: &[u8], out: &mut [i8]) {
    assert_eq!(groups.len() * 4, out.len());
    for (bytes, out) in groups.chunks(GROUP_BYTES).zip(out.chunks_mut(GROUP)) {
        for (weight, out) in out.iter_mut().enumerate() {
            let (quarter, m) = (weight / 32, weight % 32);
            *out = (bytes[m] >> (6 - 2 * quarter) & 3) as i8 - 1;
        }
    }
}

/// The first weight whose code is 3, counted from the start of `groups`.
pub fn find_invalid_code(groups: &[u8]) -> Option<usize> {
    let invalid = |byte: &u8| byte & byte >> 1 & 0b0101_0101 != 0;
    // Most groups are fine: look at each as a whole first.
    let group = groups
        .chunks(GROUP_BYTES)
        .position(|group| group.iter().any(invalid))?;
    let bytes = &groups[group * GROUP_BYTES..];
    (0..GROUP)
        .find(|weight| {
            bytes
                .get(weight % 32)
                .is_some_and(|byte| byte >> (6 - 2 * (weight / 32)) & 3 == 3)
        })
        .map(|weight| group * GROUP + weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trits(len: usize) -> Vec<i8> {
        (0..len)
            .map(|i| (i * i + i / 7) as i8 % 3)
            .map(|t| t.rem_euclid(3) - 1)
            .collect()
    }

    #[test]
    fn weights_survive_packing() {
        let weights = trits(3 * GROUP);
        let mut bytes = Vec::new();
        pack_groups(&weights, &mut bytes);
        pack_trailer(0.75, &mut bytes);
        assert_eq!(bytes.len(), 3 * 32 + 32);
        let (groups, scale) = split(&bytes).unwrap();
        let mut out = vec![9; weights.len()];
        unpack_groups(groups, &mut out);
        assert_eq!((out, scale), (weights, 0.75));
        assert_eq!(find_invalid_code(groups), None);
    }

    #[test]
    fn weight_i_lies_at_its_byte_and_shift() {
        let weights = trits(2 * GROUP);
        let mut bytes = Vec::new();
        pack_groups(&weights, &mut bytes);
        for (i, weight) in weights.iter().enumerate() {
            let byte = bytes[i / 128 * 32 + i % 32];
            let shift = 6 - 2 * (i % 128 / 32);
            assert_eq!((byte >> shift & 3) as i8 - 1, *weight, "weight {i}");
        }
    }

    #[test]
    fn every_code_of_3_is_found() {
        for weight in 0..2 * GROUP {
            let mut bytes = Vec::new();
            pack_groups(&trits(2 * GROUP), &mut bytes);
            bytes[weight / 128 * 32 + weight % 32] |= 3 << (6 - 2 * (weight % 128 / 32));
            assert_eq!(find_invalid_code(&bytes), Some(weight));
        }
    }

    #[test]
    fn a_tensor_too_short_for_its_scale_has_none() {
        assert_eq!(split(&[0; 31]), None);
    }
}
