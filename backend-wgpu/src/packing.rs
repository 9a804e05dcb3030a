//! How rows of weights are packed for the kernels of a GPU.
//!
//! Ternary formats all become the codes of `I2_S`, 128 weights in 32 bytes, with scales per block
//! kept apart. `Q8_0` and `Q6_K` become bytes, the latter in the order of the activations that it
//! meets.

use std::ops::Range;

use bitnet_kernels::format::{Format, Matrix, i2_s, q6_k, q8_0, tq1_0, tq2_0};

/// Bytes of a scale on the device, where it is an f32.
const SCALE_BYTES: usize = size_of::<f32>();

/// Bytes of a row of `cols` weights, and of its scales, on the device.
pub(crate) fn row_bytes(format: Format, cols: usize) -> (usize, usize) {
    match format {
        Format::TQ1_0 | Format::TQ2_0 => {
            let codes = Format::I2S.row_bytes(cols).unwrap_or(0);
            (codes, cols / format.block_len() * SCALE_BYTES)
        }
        Format::Q8_0 => (cols, cols / q8_0::BLOCK * SCALE_BYTES),
        // A scale and its sub-scales of a byte each.
        Format::Q6K => (
            cols,
            cols / q6_k::BLOCK * (SCALE_BYTES + q6_k::SCALES.len()),
        ),
        as_it_lies => (as_it_lies.row_bytes(cols).unwrap_or(0), 0),
    }
}

/// Appends the rows `rows`, counted from `first_row` of `matrices` in turn, and their scales.
pub(crate) fn pack(
    matrices: &[Matrix<'_>],
    first_row: usize,
    rows: Range<usize>,
    weights: &mut Vec<u8>,
    scales: &mut Vec<u8>,
) {
    for row in rows {
        let row = first_row + row;
        let matrix = &matrices[row % matrices.len()];
        let bytes = matrix.row(row / matrices.len());
        pack_row(matrix.format(), matrix.cols(), bytes, weights, scales);
    }
}

fn pack_row(
    format: Format,
    cols: usize,
    bytes: &[u8],
    weights: &mut Vec<u8>,
    scales: &mut Vec<u8>,
) {
    let f32s = |values: &mut dyn Iterator<Item = f32>, out: &mut Vec<u8>| {
        values.for_each(|value| out.extend(value.to_le_bytes()));
    };
    match format {
        Format::TQ1_0 | Format::TQ2_0 => {
            let mut trits = vec![0; cols];
            format.unpack_row(bytes, &mut trits);
            i2_s::pack_groups(&trits, weights);
            if format == Format::TQ1_0 {
                f32s(&mut tq1_0::blocks(bytes).iter().map(|b| b.scale()), scales);
            } else {
                f32s(&mut tq2_0::blocks(bytes).iter().map(|b| b.scale()), scales);
            }
        }
        Format::Q8_0 => {
            for block in q8_0::blocks(bytes) {
                weights.extend(block.q.map(|q| q as u8));
            }
            f32s(&mut q8_0::blocks(bytes).iter().map(|b| b.scale()), scales);
        }
        Format::Q6K => {
            for block in q6_k::blocks(bytes) {
                let natural = block.unpack().map(|q| q as u8);
                for group in natural.chunks(128) {
                    weights.extend(permute_words(group));
                }
                scales.extend(block.scale().to_le_bytes());
                scales.extend(block.scales.map(|s| s as u8));
            }
        }
        _ => weights.extend(bytes),
    }
}

/// A group of 128 bytes with words 32 bytes apart made neighbours, as kernels store activations.
fn permute_words(group: &[u8]) -> impl Iterator<Item = u8> + '_ {
    (0..128).map(|to| {
        let (word, byte) = (to / 4, to % 4);
        group[word % 4 * 32 + word / 4 * 4 + byte]
    })
}
