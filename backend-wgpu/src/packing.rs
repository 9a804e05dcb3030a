//! How rows of weights are packed for the kernels of a GPU, as [`Storage`] says.

use std::ops::Range;

use bitnet_kernels::format::k_groups::{self, GROUPS, Groups};
use bitnet_kernels::format::q4_k::Q4KBlock;
use bitnet_kernels::format::q5_k::Q5KBlock;
use bitnet_kernels::format::{
    Format, Matrix, Storage, i2_s, ptq1_0, q1_0, q2_0, q4_0, q6_k, q8_0, tq1_0, tq2_0,
};

/// Bytes of a scale on the device, where it is an f32.
const SCALE_BYTES: usize = size_of::<f32>();

/// Bytes of a row of `cols` weights, and of its scales, on the device.
pub(crate) fn row_bytes(format: Format, cols: usize) -> (usize, usize) {
    let scales = |bytes: usize| cols / format.block_len() * bytes;
    match format.storage() {
        Some(Storage::ScaledTrits | Storage::Codes) => (cols / 4, scales(SCALE_BYTES)),
        Some(Storage::Bytes) => (cols, scales(SCALE_BYTES)),
        // A scale and its sub-scales of a byte each.
        Some(Storage::SubScaledBytes) => (cols, scales(SCALE_BYTES + q6_k::SCALES.len())),
        // Two scales, and sub-scales and minima of a byte each.
        Some(Storage::BytesWithMinima) => (cols, scales(2 * SCALE_BYTES + 2 * GROUPS)),
        Some(Storage::Floats | Storage::Trits) | None => (format.row_bytes(cols).unwrap_or(0), 0),
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
        Format::F32 | Format::F16 | Format::BF16 | Format::I2S => weights.extend(bytes),
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
        Format::Q2_0 | Format::PQ2_0 => {
            let mut values = vec![0; cols];
            format.unpack_row(bytes, &mut values);
            pack_codes(&values, weights);
            f32s(
                &mut bytes.chunks(format.block_bytes()).map(q2_0::scale),
                scales,
            );
        }
        Format::PTQ1_0 => {
            for block in ptq1_0::blocks(bytes) {
                pack_codes(&block.unpack(), weights);
            }
            f32s(&mut ptq1_0::blocks(bytes).iter().map(|b| b.scale()), scales);
        }
        Format::Q1_0 => {
            for block in q1_0::blocks(bytes) {
                pack_codes(&block.unpack(), weights);
            }
            f32s(&mut q1_0::blocks(bytes).iter().map(|b| b.scale()), scales);
        }
        Format::Q4_0 => {
            for block in q4_0::blocks(bytes) {
                weights.extend(block.unpack().map(|q| q as u8));
            }
            f32s(&mut q4_0::blocks(bytes).iter().map(|b| b.scale()), scales);
        }
        Format::Q8_0 => {
            for block in q8_0::blocks(bytes) {
                weights.extend(block.q.map(|q| q as u8));
            }
            f32s(&mut q8_0::blocks(bytes).iter().map(|b| b.scale()), scales);
        }
        Format::Q6K => {
            for block in q6_k::blocks(bytes) {
                permute_words(&block.unpack().map(|q| q as u8), weights);
                scales.extend(block.scale().to_le_bytes());
                scales.extend(block.scales.map(|s| s as u8));
            }
        }
        Format::Q4K => pack_grouped::<Q4KBlock>(bytes, weights, scales),
        Format::Q5K => pack_grouped::<Q5KBlock>(bytes, weights, scales),
    }
}

/// Appends weights of -1 to 2 as [`Storage::Codes`].
fn pack_codes(weights: &[i8], out: &mut Vec<u8>) {
    for sixteen in weights.as_chunks::<16>().0 {
        for b in 0..4 {
            let code = |l: usize| ((sixteen[4 * l + b] + 1) as u8) << (6 - 2 * l);
            out.push(code(0) | code(1) | code(2) | code(3));
        }
    }
}

/// Appends blocks of groups that have minima: their codes; their scales, sub-scales and minima.
fn pack_grouped<B: k_groups::Block>(bytes: &[u8], weights: &mut Vec<u8>, scales: &mut Vec<u8>) {
    for block in k_groups::blocks::<B>(bytes) {
        permute_words(&block.unpack(), weights);
        let head = block.head();
        let both = [head.scale(), head.minimum_scale()];
        scales.extend(both.map(f32::to_le_bytes).as_flattened());
        let groups = Groups::unpack(&head.groups);
        scales.extend(groups.scales);
        scales.extend(groups.minima);
    }
}

/// Appends a block of bytes with words 32 bytes apart made neighbours, as kernels store
/// activations.
fn permute_words(block: &[u8; 256], out: &mut Vec<u8>) {
    for group in block.as_chunks::<128>().0 {
        out.extend((0..128).map(|to| {
            let (word, byte) = (to / 4, to % 4);
            group[word % 4 * 32 + word / 4 * 4 + byte]
        }));
    }
}
