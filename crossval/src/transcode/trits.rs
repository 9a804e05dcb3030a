//! The two ternary layouts that transcoding reads and writes, weight by weight.
//!
//! Plain on purpose and independent of the kernels' own packing, so that a
//! mistake there cannot hide here. Layouts: `docs/reference/formats.md`.

/// Bytes of an I2_S tensor after its codes: the f32 scale and 28 bytes without meaning.
pub(super) const I2S_TRAILER: usize = 32;

/// Weights and bytes of a TQ2_0 block.
pub(super) const TQ2_BLOCK: usize = 256;
pub(super) const TQ2_BYTES: usize = 66;

/// The place of weight `i` of an I2_S tensor: byte and shift.
fn i2s_place(i: usize) -> (usize, u32) {
    ((i / 128) * 32 + i % 32, 6 - 2 * ((i % 128) / 32) as u32)
}

/// The place of weight `i` of a TQ2_0 block: byte and shift.
fn tq2_place(i: usize) -> (usize, u32) {
    ((i / 128) * 32 + i % 32, 2 * ((i % 128) / 32) as u32)
}

/// Codes 0..=3 of `count` weights of I2_S data.
pub(super) fn read_i2s(data: &[u8], count: usize) -> Vec<u8> {
    (0..count)
        .map(|i| {
            let (byte, shift) = i2s_place(i);
            (data[byte] >> shift) & 3
        })
        .collect()
}

/// I2_S data for codes, whose number is a multiple of 128, and a scale.
pub(super) fn write_i2s(codes: &[u8], scale: f32) -> Vec<u8> {
    let mut data = vec![0; codes.len() / 4 + I2S_TRAILER];
    for (i, code) in codes.iter().enumerate() {
        let (byte, shift) = i2s_place(i);
        data[byte] |= code << shift;
    }
    data[codes.len() / 4..][..4].copy_from_slice(&scale.to_le_bytes());
    data
}

/// Codes 0..=3 of one TQ2_0 block, and the bits of its f16 scale.
pub(super) fn read_tq2(block: &[u8; TQ2_BYTES]) -> ([u8; TQ2_BLOCK], u16) {
    let codes = std::array::from_fn(|i| {
        let (byte, shift) = tq2_place(i);
        (block[byte] >> shift) & 3
    });
    (codes, u16::from_le_bytes([block[64], block[65]]))
}

/// One TQ2_0 block for 256 codes and an f16 scale.
pub(super) fn write_tq2(codes: &[u8], scale: u16) -> [u8; TQ2_BYTES] {
    let mut block = [0; TQ2_BYTES];
    for (i, code) in codes.iter().enumerate() {
        let (byte, shift) = tq2_place(i);
        block[byte] |= code << shift;
    }
    block[64..].copy_from_slice(&scale.to_le_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_layouts_give_back_what_was_put_in() {
        let codes: Vec<u8> = (0..512).map(|i| (i * 7 % 3) as u8).collect();
        assert_eq!(read_i2s(&write_i2s(&codes, 0.5), codes.len()), codes);
        let (read, scale) = read_tq2(&write_tq2(&codes[..256], 0x3800));
        assert_eq!((read.as_slice(), scale), (&codes[..256], 0x3800));
    }

    #[test]
    fn single_weights_lie_where_the_formats_say() {
        let mut codes = vec![1u8; 256];
        codes[33] = 2; // group 0, second of four in byte 1
        assert_eq!(write_i2s(&codes, 1.0)[1], 0b01_10_01_01);
        assert_eq!(write_tq2(&codes, 0)[1], 0b01_01_10_01);
    }
}
