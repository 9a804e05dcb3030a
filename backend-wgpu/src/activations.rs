//! Activations on the device.

use bitnet_kernels::BackendError;
use bitnet_kernels::format::Encoding;
use bitnet_kernels::program::BufferDesc;
use wgpu::Buffer;

use crate::device::Gpu;

/// Rows of activations in an encoding.
pub(crate) struct Activations {
    /// Values: f32, or i8 four to a word.
    pub(crate) values: Buffer,
    /// Scales of rows or blocks, with the sums of their values where ternary weights need them.
    pub(crate) scales: Option<Buffer>,
    width: usize,
    encoding: Encoding,
}

impl Activations {
    pub(crate) fn new(
        gpu: &Gpu,
        desc: &BufferDesc,
        rows: usize,
    ) -> Result<Activations, BackendError> {
        let (values, scales) = row_bytes(desc.encoding, desc.width);
        Ok(Activations {
            values: gpu.storage(desc.name, rows * values)?,
            scales: match scales {
                0 => None,
                bytes => Some(gpu.storage(desc.name, rows * bytes)?),
            },
            width: desc.width,
            encoding: desc.encoding,
        })
    }

    /// The first rows, decoded.
    pub(crate) fn read(&self, gpu: &Gpu, rows: usize) -> Result<Vec<f32>, BackendError> {
        let (value_bytes, scale_bytes) = row_bytes(self.encoding, self.width);
        let bytes = gpu.download(&self.values, rows * value_bytes)?;
        let Some(scales) = &self.scales else {
            return Ok(floats(&bytes));
        };
        let scales = floats(&gpu.download(scales, rows * scale_bytes)?);
        let (width, encoding) = (self.width, self.encoding);
        let per_row = encoding.scales_per_row(width);
        let block = width / per_row;
        let value = |i: usize| {
            let (row, col) = (i / width, i % width);
            let q = bytes[row * width + place(encoding, col)] as i8;
            let scale = (row * per_row + col / block) * words_per_scale(encoding);
            encoding.decode(q, scales[scale])
        };
        Ok((0..rows * width).map(value).collect())
    }
}

/// Words of little-endian bytes as f32.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|word| f32::from_le_bytes(*word))
        .collect()
}

/// Bytes of a row's values and of its scales.
fn row_bytes(encoding: Encoding, width: usize) -> (usize, usize) {
    let scales = encoding.scales_per_row(width) * words_per_scale(encoding) * 4;
    match encoding {
        Encoding::F32 => (4 * width, scales),
        Encoding::I8 | Encoding::Q8K | Encoding::Q8_0 => (width, scales),
    }
}

/// Words that a scale takes: one more where the sum of the values follows it.
fn words_per_scale(encoding: Encoding) -> usize {
    match encoding {
        Encoding::F32 => 0,
        Encoding::I8 | Encoding::Q8K => 2,
        Encoding::Q8_0 => 1,
    }
}

/// Where value `col` of a row lies: words 32 values apart are neighbours where ternary codes want
/// them so.
fn place(encoding: Encoding, col: usize) -> usize {
    match encoding {
        Encoding::F32 | Encoding::Q8_0 => col,
        Encoding::I8 | Encoding::Q8K => {
            let (group, rest) = (col / 128, col % 128);
            group * 128 + rest % 32 / 4 * 16 + rest / 32 * 4 + rest % 4
        }
    }
}
