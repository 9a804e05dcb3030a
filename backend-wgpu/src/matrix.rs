//! Weights on the device: packed for its kernels, and split where a buffer may not be larger.
//!
//! Ternary formats all become the codes of `I2_S`, 128 weights in 32 bytes, with scales per block
//! kept apart. `Q8_0` and `Q6_K` become bytes, the latter in the order of the activations that it
//! meets.

use std::ops::Range;

use bitnet_kernels::format::{self, Format, Matrix, i2_s, q6_k, q8_0, tq1_0, tq2_0};
use bitnet_kernels::program::WeightDesc;
use bitnet_kernels::{BackendError, SharedWeights};
use wgpu::Buffer;

use crate::device::Gpu;

/// Rows of a matrix in buffers of their own.
pub(crate) struct Piece {
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    pub(crate) weights: Buffer,
    /// Scales of blocks, for formats that have them.
    pub(crate) scales: Option<Buffer>,
}

/// One matrix, or a gate and its factor with their rows in turn.
pub(crate) struct DeviceMatrix {
    pub(crate) format: Format,
    pub(crate) cols: usize,
    /// Scales of even and odd rows; 1 where blocks have their own.
    pub(crate) scales: [f32; 2],
    pub(crate) pieces: Vec<Piece>,
}

/// Bytes uploaded, of how many.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64);

/// Bytes of a row of `cols` weights, and of its scales, on the device.
fn row_bytes(format: Format, cols: usize) -> (usize, usize) {
    match format {
        Format::F32 => (4 * cols, 0),
        Format::F16 | Format::BF16 => (2 * cols, 0),
        Format::I2S => (cols / 4, 0),
        Format::TQ1_0 | Format::TQ2_0 => (cols / 4, cols / 256 * 4),
        Format::Q8_0 => (cols, cols / 32 * 4),
        Format::Q6K => (cols, cols / 256 * 20),
    }
}

/// Places one matrix, or two with their rows in turn, on the device.
pub(crate) fn place(
    gpu: &Gpu,
    source: &SharedWeights,
    descs: &[&WeightDesc],
    progress: Progress<'_>,
) -> Result<DeviceMatrix, BackendError> {
    let matrices = descs
        .iter()
        .map(|desc| open(source, desc))
        .collect::<Result<Vec<_>, _>>()?;
    let (format, cols) = (descs[0].format, descs[0].cols);
    if descs
        .iter()
        .any(|d| (d.format, d.rows, d.cols) != (format, descs[0].rows, cols))
    {
        return Err(gpu.unsupported(format!(
            "{} with {}: their formats or shapes differ",
            descs[0].name, descs[1].name
        )));
    }
    if !row_bytes(format, cols).0.is_multiple_of(16) {
        return Err(gpu.unsupported(format!(
            "{}: rows of {cols} weights of {format} are not whole vectors of 16 bytes",
            descs[0].name
        )));
    }
    let rows = descs[0].rows * descs.len();
    let (weight_bytes, scale_bytes) = row_bytes(format, cols);
    let widest = weight_bytes.max(scale_bytes).max(1);
    // Whole pairs, so that a gate never parts from its factor.
    let room = (gpu.max_weights as usize / widest).max(1) & !1;
    let mut pieces = Vec::new();
    for first_row in (0..rows).step_by(room.max(2)) {
        let count = room.max(2).min(rows - first_row);
        let name = &descs[0].name;
        let piece = Piece {
            first_row,
            rows: count,
            weights: gpu.storage(name, count * weight_bytes)?,
            scales: match scale_bytes {
                0 => None,
                bytes => Some(gpu.storage(name, count * bytes)?),
            },
        };
        fill(gpu, &matrices, &piece, progress)?;
        pieces.push(piece);
    }
    for part in descs.iter().filter_map(|desc| source.find(&desc.name)) {
        source.release(part);
    }
    let scale = |i: usize| matrices[i % matrices.len()].scale();
    Ok(DeviceMatrix {
        format,
        cols,
        scales: [scale(0), scale(1)],
        pieces,
    })
}

/// Places a vector of f32.
pub(crate) fn place_vector(
    gpu: &Gpu,
    source: &SharedWeights,
    desc: &WeightDesc,
) -> Result<Buffer, BackendError> {
    let matrix = open(source, desc)?;
    let mut values = vec![0.0; desc.cols];
    matrix.dequantize_row(0, &mut values);
    let buffer = gpu.storage(&desc.name, values.len() * 4)?;
    gpu.upload(&buffer, 0, bytemuck::cast_slice(&values))?;
    Ok(buffer)
}

fn open<'a>(source: &'a SharedWeights, desc: &WeightDesc) -> Result<Matrix<'a>, BackendError> {
    let wrong = |problem: String| BackendError::Weight {
        name: desc.name.clone(),
        problem,
    };
    let part = source
        .find(&desc.name)
        .ok_or_else(|| wrong("is missing".to_owned()))?;
    // A file may leave room behind a tensor.
    let bytes = &source.bytes()[part];
    let wanted = desc.format.matrix_bytes(desc.rows, desc.cols);
    let bytes = wanted
        .and_then(|wanted| bytes.get(..wanted))
        .unwrap_or(bytes);
    Matrix::new(desc.format, desc.rows, desc.cols, bytes).map_err(|error| wrong(error.to_string()))
}

/// Rows packed at a time.
const BAND_BYTES: usize = 16 << 20;

fn fill(
    gpu: &Gpu,
    matrices: &[Matrix<'_>],
    piece: &Piece,
    progress: Progress<'_>,
) -> Result<(), BackendError> {
    let (weight_bytes, scale_bytes) = row_bytes(matrices[0].format(), matrices[0].cols());
    let band = (BAND_BYTES / weight_bytes.max(1)).max(1);
    let (mut weights, mut scales) = (Vec::new(), Vec::new());
    for at in (0..piece.rows).step_by(band) {
        let rows = at..(at + band).min(piece.rows);
        weights.clear();
        scales.clear();
        pack(
            matrices,
            piece.first_row,
            rows.clone(),
            &mut weights,
            &mut scales,
        );
        gpu.upload(&piece.weights, at * weight_bytes, &weights)?;
        if let Some(buffer) = &piece.scales {
            gpu.upload(buffer, at * scale_bytes, &scales)?;
        }
        progress((weights.len() + scales.len()) as u64);
    }
    Ok(())
}

fn pack(
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
            format::unpack_row(format, bytes, &mut trits);
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
    }
}

/// A group of 128 bytes with words 32 bytes apart made neighbours, as kernels store activations.
fn permute_words(group: &[u8]) -> impl Iterator<Item = u8> + '_ {
    (0..128).map(|to| {
        let (word, byte) = (to / 4, to % 4);
        group[word % 4 * 32 + word / 4 * 4 + byte]
    })
}
