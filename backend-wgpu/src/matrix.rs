//! Weights on the device, split where a buffer may not be larger.

use bitnet_kernels::format::{Format, Matrix};
use bitnet_kernels::program::WeightDesc;
use bitnet_kernels::{BackendError, SharedWeights};
use wgpu::{Buffer, BufferUsages};

use crate::device::Gpu;
use crate::packing::{pack_row, row_bytes};

/// Rows of a matrix in buffers of their own.
pub(crate) struct Piece {
    pub(crate) first_row: usize,
    pub(crate) rows: usize,
    pub(crate) weights: Buffer,
    /// Scales of blocks, for formats that have them.
    pub(crate) scales: Option<Buffer>,
}

/// How matrices that are multiplied as one lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// Their rows in turn: a gate and its factor, of the same shape. Also of one matrix alone.
    Alternating,
    /// One after another.
    Stacked,
}

impl Layout {
    /// The matrix that a row belongs to, and its row there.
    fn locate(self, matrices: &[Matrix<'_>], row: usize) -> (usize, usize) {
        if self == Layout::Alternating {
            return (row % matrices.len(), row / matrices.len());
        }
        let mut first = 0;
        for (index, matrix) in matrices.iter().enumerate() {
            if row < first + matrix.rows() {
                return (index, row - first);
            }
            first += matrix.rows();
        }
        unreachable!("row {row} is behind the last matrix")
    }
}

/// The most matrices that lie together.
pub(crate) const MOST_TOGETHER: usize = 4;

/// One matrix, or several that lie together.
pub(crate) struct DeviceMatrix {
    pub(crate) format: Format,
    pub(crate) cols: usize,
    /// Of each of them; 1 where blocks have their own.
    pub(crate) scales: [f32; MOST_TOGETHER],
    pub(crate) pieces: Vec<Piece>,
}

impl DeviceMatrix {
    /// What shaders see of each piece, as `shaders/shared/piece.wgsl` has it: its place, the scales
    /// and the `factors` of the matrices that lie together, in turn where there are fewer.
    pub(crate) fn numbers(&self, gpu: &Gpu, factors: &[f32]) -> Result<Vec<Buffer>, BackendError> {
        let make = |piece: &Piece| {
            let place = [piece.first_row as u32, piece.rows as u32, 0, 0];
            let factors = factors.iter().copied().cycle().take(MOST_TOGETHER);
            let factors = self.scales.into_iter().chain(factors).map(f32::to_bits);
            let words: Vec<u32> = place.into_iter().chain(factors).collect();
            let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
            let buffer = gpu.buffer("a matrix's numbers", words.len() * 4, usage)?;
            gpu.upload(&buffer, 0, bytemuck::cast_slice(&words))?;
            Ok(buffer)
        };
        self.pieces.iter().map(make).collect()
    }
}

/// Told of bytes that were uploaded.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64);

/// Places one matrix, or several that lie together, on the device.
pub(crate) fn place(
    gpu: &Gpu,
    source: &SharedWeights,
    descs: &[&WeightDesc],
    layout: Layout,
    progress: Progress<'_>,
) -> Result<DeviceMatrix, BackendError> {
    let matrices = descs
        .iter()
        .map(|desc| open(source, desc))
        .collect::<Result<Vec<_>, _>>()?;
    let (format, cols) = (descs[0].format, descs[0].cols);
    let differs = |d: &&WeightDesc| {
        let rows = layout == Layout::Alternating && d.rows != descs[0].rows;
        rows || (d.format, d.cols) != (format, cols)
    };
    if descs.iter().any(differs) {
        return Err(gpu.unsupported(format!(
            "{} with {}: their formats or shapes differ",
            descs[0].name, descs[1].name
        )));
    }
    if format.storage().is_none() {
        return Err(gpu.unsupported(format!(
            "{}: no shader reads weights of {format}",
            descs[0].name
        )));
    }
    if !row_bytes(format, cols).0.is_multiple_of(16) {
        return Err(gpu.unsupported(format!(
            "{}: rows of {cols} weights of {format} are not whole vectors of 16 bytes",
            descs[0].name
        )));
    }
    let rows = descs.iter().map(|desc| desc.rows).sum();
    let (weight_bytes, scale_bytes) = row_bytes(format, cols);
    let widest = weight_bytes.max(scale_bytes).max(1);
    // Whole pairs, so that a gate never parts from its factor.
    let most_rows = (gpu.max_weights as usize / widest).max(1) & !1;
    let mut pieces = Vec::new();
    for first_row in (0..rows).step_by(most_rows.max(2)) {
        let count = most_rows.max(2).min(rows - first_row);
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
        fill(gpu, (&matrices, layout), &piece, progress)?;
        pieces.push(piece);
    }
    for part in descs.iter().filter_map(|desc| source.find(&desc.name)) {
        source.release(part);
    }
    let scale = |i: usize| matrices[i % matrices.len()].scale();
    Ok(DeviceMatrix {
        format,
        cols,
        scales: std::array::from_fn(scale),
        pieces,
    })
}

/// Places a vector, or the few rows of a convolution, as f32.
pub(crate) fn place_vector(
    gpu: &Gpu,
    source: &SharedWeights,
    desc: &WeightDesc,
) -> Result<Buffer, BackendError> {
    let matrix = open(source, desc)?;
    let mut values = vec![0.0; desc.rows * desc.cols];
    for (row, values) in values.chunks_exact_mut(desc.cols).enumerate() {
        matrix.dequantize_row(row, values);
    }
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
    // A file may leave a gap behind a tensor.
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
    (matrices, layout): (&[Matrix<'_>], Layout),
    piece: &Piece,
    progress: Progress<'_>,
) -> Result<(), BackendError> {
    let (format, cols) = (matrices[0].format(), matrices[0].cols());
    let (weight_bytes, scale_bytes) = row_bytes(format, cols);
    let band = (BAND_BYTES / weight_bytes.max(1)).max(1);
    let (mut weights, mut scales) = (Vec::new(), Vec::new());
    for at in (0..piece.rows).step_by(band) {
        let rows = at..(at + band).min(piece.rows);
        weights.clear();
        scales.clear();
        for row in rows {
            let (matrix, row) = layout.locate(matrices, piece.first_row + row);
            let bytes = matrices[matrix].row(row);
            pack_row(format, cols, bytes, &mut weights, &mut scales);
        }
        gpu.upload(&piece.weights, at * weight_bytes, &weights)?;
        if let Some(buffer) = &piece.scales {
            gpu.upload(buffer, at * scale_bytes, &scales)?;
        }
        progress((weights.len() + scales.len()) as u64);
    }
    Ok(())
}
