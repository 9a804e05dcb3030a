//! Weights on the device, split where a buffer may not be larger.

use bitnet_kernels::format::{Format, Matrix};
use bitnet_kernels::program::WeightDesc;
use bitnet_kernels::{BackendError, SharedWeights};
use wgpu::{Buffer, BufferUsages};

use crate::device::Gpu;
use crate::packing::{pack, row_bytes};

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

impl DeviceMatrix {
    /// What shaders see of each piece, as `shaders/shared/piece.wgsl` has it: its place, its scales
    /// and the `factors` of even and odd rows.
    pub(crate) fn numbers(
        &self,
        gpu: &Gpu,
        factors: [f32; 2],
    ) -> Result<Vec<Buffer>, BackendError> {
        let make = |piece: &Piece| {
            let words = [
                piece.first_row as u32,
                piece.rows as u32,
                self.scales[0].to_bits(),
                self.scales[1].to_bits(),
                factors[0].to_bits(),
                factors[1].to_bits(),
                0,
                0,
            ];
            let usage = BufferUsages::UNIFORM | BufferUsages::COPY_DST;
            let buffer = gpu.buffer("a matrix's numbers", 32, usage)?;
            gpu.upload(&buffer, 0, bytemuck::bytes_of(&words))?;
            Ok(buffer)
        };
        self.pieces.iter().map(make).collect()
    }
}

/// Told of bytes that were uploaded.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(u64);

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
    let rows = descs[0].rows * descs.len();
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
