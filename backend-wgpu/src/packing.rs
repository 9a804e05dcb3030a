//! How rows of weights are packed for the kernels of a GPU, as [`Storage`] says.

use bitnet_kernels::format::k_groups::{self, GROUPS, Groups};
use bitnet_kernels::format::q4_k::Q4KBlock;
use bitnet_kernels::format::q5_k::Q5KBlock;
use bitnet_kernels::format::{Format, Storage, i2_s, q6_k};

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

/// Appends a row, and its scales.
pub(crate) fn pack_row(
    format: Format,
    cols: usize,
    bytes: &[u8],
    weights: &mut Vec<u8>,
    scales: &mut Vec<u8>,
) {
    match format.storage() {
        Some(Storage::Floats | Storage::Trits) => weights.extend(bytes),
        Some(Storage::ScaledTrits) => {
            let mut trits = Vec::with_capacity(cols);
            unpack_blocks(format, bytes, scales, |block| trits.extend(as_i8(block)));
            i2_s::pack_groups(&trits, weights);
        }
        Some(Storage::Codes) => {
            let mut codes = Vec::with_capacity(cols);
            unpack_blocks(format, bytes, scales, |block| codes.extend(as_i8(block)));
            pack_codes(&codes, weights);
        }
        Some(Storage::Bytes) => unpack_blocks(format, bytes, scales, |block| {
            weights.extend(as_i8(block).map(|weight| weight as u8));
        }),
        Some(Storage::SubScaledBytes) if format == Format::Q6K => {
            for block in q6_k::blocks(bytes) {
                permute_words(&block.unpack().map(|q| q as u8), weights);
                scales.extend(block.scale().to_le_bytes());
                scales.extend(block.scales.map(|s| s as u8));
            }
        }
        Some(Storage::BytesWithMinima) if format == Format::Q4K => {
            pack_grouped::<Q4KBlock>(bytes, weights, scales);
        }
        Some(Storage::BytesWithMinima) if format == Format::Q5K => {
            pack_grouped::<Q5KBlock>(bytes, weights, scales);
        }
        storage @ (Some(Storage::SubScaledBytes | Storage::BytesWithMinima) | None) => {
            unreachable!("{format} is not packed as {storage:?}")
        }
    }
}

/// Hands over each block as integers, and appends its scale to `scales`.
fn unpack_blocks(format: Format, bytes: &[u8], scales: &mut Vec<u8>, mut each: impl FnMut(&[i16])) {
    let Some(unpack) = format.unpack() else {
        unreachable!("{format} has no integers that a device could keep")
    };
    let mut block = vec![0; format.block_len()];
    for bytes in bytes.chunks_exact(format.block_bytes()) {
        scales.extend(unpack(bytes, &mut block).to_le_bytes());
        each(&block);
    }
}

/// Integers as the bytes that they fit in: a test of the table of formats sees to it.
fn as_i8(block: &[i16]) -> impl Iterator<Item = i8> {
    block.iter().map(|weight| *weight as i8)
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
