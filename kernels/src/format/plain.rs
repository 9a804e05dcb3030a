//! `F32`, `F16`, `BF16`: weights as plain little-endian floats, row after row.
//!
//! ```text
//! F32    s eeeeeeee mmmmmmmmmmmmmmmmmmmmmmm    4 bytes
//! BF16   s eeeeeeee mmmmmmm                    2 bytes, the upper half of an F32
//! F16    s eeeee mmmmmmmmmm                    2 bytes
//! ```

use half::{bf16, f16};

use super::{Descriptor, Encoding, Product, Reduction, Storage, Values};

/// Plain numbers of `bytes` bytes.
const fn plain(
    name: &'static str,
    bytes: usize,
    dequantize: fn(&[u8], &mut [f32]),
    pack: fn(&[f32], &mut Vec<u8>),
) -> Descriptor {
    Descriptor {
        name,
        block_len: 1,
        block_bytes: bytes,
        trailer: None,
        dequantize,
        values: Values::Floats { pack },
        find_invalid_code: None,
        storage: Some(Storage::Floats),
        product: Some(Product {
            encoding: Encoding::F32,
            reduction: Reduction::Floats,
            rounds_softmax_weights: false,
        }),
    }
}

/// IEEE binary32.
pub const F32: Descriptor = plain("F32", 4, dequantize_f32, pack_f32);
/// IEEE binary16.
pub const F16: Descriptor = plain("F16", 2, dequantize_f16, pack_f16);
/// bfloat16.
pub const BF16: Descriptor = plain("BF16", 2, dequantize_bf16, pack_bf16);

/// Appends `values` as `F32`.
pub fn pack_f32(values: &[f32], out: &mut Vec<u8>) {
    out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

/// Appends `values` as `F16`, rounded to nearest, ties to even.
pub fn pack_f16(values: &[f32], out: &mut Vec<u8>) {
    out.extend(
        values
            .iter()
            .flat_map(|value| f16::from_f32(*value).to_le_bytes()),
    );
}

/// Appends `values` as `BF16`, rounded to nearest, ties to even.
pub fn pack_bf16(values: &[f32], out: &mut Vec<u8>) {
    out.extend(
        values
            .iter()
            .flat_map(|value| bf16::from_f32(*value).to_le_bytes()),
    );
}

/// Reads `out.len()` weights of `F32`.
///
/// # Panics
/// If `bytes` is not that long. So do the others.
pub(crate) fn dequantize_f32(bytes: &[u8], out: &mut [f32]) {
    decode(bytes, out, f32::from_le_bytes);
}

/// Reads `out.len()` weights of `F16`, exactly.
pub(crate) fn dequantize_f16(bytes: &[u8], out: &mut [f32]) {
    decode(bytes, out, |value| f16::from_le_bytes(value).to_f32());
}

/// Reads `out.len()` weights of `BF16`, exactly.
pub(crate) fn dequantize_bf16(bytes: &[u8], out: &mut [f32]) {
    decode(bytes, out, |value| bf16::from_le_bytes(value).to_f32());
}

fn decode<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    let (values, rest) = bytes.as_chunks::<N>();
    assert!(
        values.len() == out.len() && rest.is_empty(),
        "{} bytes do not hold {} weights",
        bytes.len(),
        out.len()
    );
    for (out, value) in out.iter_mut().zip(values) {
        *out = read(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f32; 6] = [0.0, -1.0, 1.0 / 3.0, 65504.0, 1e-7, -2.5];

    fn round_trip(
        pack: impl Fn(&[f32], &mut Vec<u8>),
        dequantize: impl Fn(&[u8], &mut [f32]),
    ) -> Vec<f32> {
        let (mut bytes, mut out) = (Vec::new(), [f32::NAN; 6]);
        pack(&VALUES, &mut bytes);
        dequantize(&bytes, &mut out);
        out.to_vec()
    }

    #[test]
    fn f32_is_exact() {
        assert_eq!(round_trip(pack_f32, dequantize_f32), VALUES);
    }

    #[test]
    fn f16_and_bf16_round_once() {
        let halves = round_trip(pack_f16, dequantize_f16);
        assert_eq!(halves, VALUES.map(|value| f16::from_f32(value).to_f32()));
        let brains = round_trip(pack_bf16, dequantize_bf16);
        assert_eq!(brains, VALUES.map(|value| bf16::from_f32(value).to_f32()));
    }

    #[test]
    fn bytes_are_little_endian() {
        let mut bytes = Vec::new();
        pack_f32(&[1.0], &mut bytes);
        pack_f16(&[1.0], &mut bytes);
        pack_bf16(&[1.0], &mut bytes);
        assert_eq!(bytes, [0, 0, 0x80, 0x3f, 0, 0x3c, 0x80, 0x3f]);
    }
}
