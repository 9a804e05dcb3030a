//! Rows of any format: one way in for those who do not care which it is.

use super::{Format, i2_s, plain, q6_k, q8_0, tq1_0, tq2_0};

/// Decodes a row of weights, without the tensor's scale where the format keeps one (`I2_S`).
///
/// `bytes` holds at least the row, `out.len()` is its length in weights.
///
/// # Panics
/// If `bytes` is shorter, or the row holds no whole blocks.
pub fn dequantize_row(format: Format, bytes: &[u8], out: &mut [f32]) {
    let bytes = only_row(format, bytes, out.len());
    match format {
        Format::F32 => plain::dequantize_f32(bytes, out),
        Format::F16 => plain::dequantize_f16(bytes, out),
        Format::BF16 => plain::dequantize_bf16(bytes, out),
        Format::Q8_0 => q8_0::dequantize_row(bytes, out),
        Format::Q6K => q6_k::dequantize_row(bytes, out),
        Format::TQ1_0 => {
            for (block, out) in tq1_0::blocks(bytes)
                .iter()
                .zip(out.chunks_mut(tq1_0::BLOCK))
            {
                scale(block.unpack(), block.scale(), out);
            }
        }
        Format::TQ2_0 => {
            for (block, out) in tq2_0::blocks(bytes)
                .iter()
                .zip(out.chunks_mut(tq2_0::BLOCK))
            {
                scale(block.unpack(), block.scale(), out);
            }
        }
        Format::I2S => {
            let groups = bytes.chunks(i2_s::GROUP_BYTES);
            for (group, out) in groups.zip(out.chunks_mut(i2_s::GROUP)) {
                let mut trits = [0; i2_s::GROUP];
                i2_s::unpack_groups(group, &mut trits);
                scale(trits, 1.0, out);
            }
        }
    }
}

/// Reads a row of ternary weights as -1, 0 and 1.
///
/// `bytes` holds at least the row, `out.len()` is its length in weights.
///
/// # Panics
/// If the format is not ternary, `bytes` is shorter, or the row holds no whole blocks.
pub fn unpack_row(format: Format, bytes: &[u8], out: &mut [i8]) {
    let bytes = only_row(format, bytes, out.len());
    match format {
        Format::I2S => i2_s::unpack_groups(bytes, out),
        Format::TQ1_0 => tq1_0::unpack_codes(bytes, out),
        Format::TQ2_0 => tq2_0::unpack_codes(bytes, out),
        other => panic!("{other} is not ternary"),
    }
}

fn only_row(format: Format, bytes: &[u8], cols: usize) -> &[u8] {
    match format.row_bytes(cols) {
        Some(len) => &bytes[..len],
        None => panic!("{cols} weights are no whole blocks of {format}"),
    }
}

fn scale<const N: usize>(trits: [i8; N], scale: f32, out: &mut [f32]) {
    for (out, trit) in out.iter_mut().zip(trits) {
        *out = scale * f32::from(trit);
    }
}
