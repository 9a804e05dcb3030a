//! The program's weights, used where they lie.

use std::ops::Range;
use std::ptr;

use bitnet_kernels::program::{Op, Program, WeightDesc, WeightId};
use bitnet_kernels::{BackendError, Format, SharedWeights};

use crate::microkernel::operands::MatrixRef;

/// Checked weights of a program.
pub(crate) struct Weights {
    source: SharedWeights,
    weights: Vec<Weight>,
}

struct Weight {
    format: Format,
    cols: usize,
    part: Range<usize>,
    /// The scale of all weights; 1 where the format keeps none for the tensor.
    scale: f32,
    /// A vector's values, decoded, and a convolution's, column after column; empty for matrices.
    vector: Vec<f32>,
}

/// A convolution's values, column after column.
fn columns(desc: &WeightDesc, bytes: &[u8], scale: f32) -> Vec<f32> {
    let mut values = vec![0.0; desc.rows * desc.cols];
    let mut row = vec![0.0; desc.cols];
    let stride = desc.format.row_bytes(desc.cols).unwrap_or(bytes.len());
    for (channel, bytes) in bytes.chunks_exact(stride).take(desc.rows).enumerate() {
        desc.format.dequantize_row(bytes, &mut row);
        for (column, x) in row.iter().enumerate() {
            values[column * desc.rows + channel] = scale * *x;
        }
    }
    values
}

impl Weights {
    /// Finds every weight of `program` in `source` and checks its size.
    pub(crate) fn new(program: &Program, source: SharedWeights) -> Result<Weights, BackendError> {
        for product in program.ops.iter().flat_map(Op::products) {
            let desc = program.weight(product.weight);
            if !desc.format.can_multiply() {
                return Err(BackendError::Weight {
                    name: desc.name.clone(),
                    problem: format!(
                        "has the format {}, whose rows can be read but not multiplied",
                        desc.format
                    ),
                });
            }
        }
        let kernels = program.ops.iter().filter_map(|op| match op {
            Op::Convolve { kernel, .. } => Some(program.weight(*kernel)),
            _ => None,
        });
        let kernels: Vec<&WeightDesc> = kernels.collect();
        let is_kernel = |desc: &WeightDesc| kernels.iter().any(|kernel| ptr::eq(*kernel, desc));
        let mut weights = Vec::new();
        for desc in &program.weights {
            let error = |problem: String| BackendError::Weight {
                name: desc.name.clone(),
                problem,
            };
            let part = source
                .find(&desc.name)
                .ok_or_else(|| error("is missing".to_owned()))?;
            let Some(want) = desc.format.matrix_bytes(desc.rows, desc.cols) else {
                let block = desc.format.block_len();
                let (cols, format) = (desc.cols, desc.format);
                return Err(error(format!(
                    "has rows of {cols} values; {format} needs a multiple of {block}"
                )));
            };
            let bytes = &source.bytes()[part.clone()];
            if bytes.len() < want {
                return Err(error(format!(
                    "has {} bytes, {want} were expected",
                    bytes.len()
                )));
            }
            // `want` holds the trailer, if the format has one.
            let (_, scale) = desc.format.split(&bytes[..want]).unwrap_or((bytes, 1.0));
            let mut vector = Vec::new();
            if desc.rows == 1 {
                vector.resize(desc.cols, 0.0);
                desc.format.dequantize_row(bytes, &mut vector);
            } else if is_kernel(desc) {
                vector = columns(desc, bytes, scale);
            }
            weights.push(Weight {
                format: desc.format,
                cols: desc.cols,
                part,
                scale,
                vector,
            });
        }
        Ok(Weights { source, weights })
    }

    fn get(&self, id: WeightId) -> &Weight {
        &self.weights[id.0 as usize]
    }

    /// A vector's values; those of a convolution as `[columns][channels]`.
    pub(crate) fn vector(&self, id: WeightId) -> &[f32] {
        &self.get(id).vector
    }

    /// A matrix.
    pub(crate) fn matrix(&self, id: WeightId) -> MatrixRef<'_> {
        let weight = self.get(id);
        MatrixRef {
            format: weight.format,
            bytes: &self.source.bytes()[weight.part.clone()],
            stride: weight.cols / weight.format.block_len() * weight.format.block_bytes(),
            scale: weight.scale,
        }
    }

    /// Tells that `rows` of a matrix will seldom be read from now on.
    pub(crate) fn release(&self, id: WeightId, rows: Range<usize>) {
        let start = self.get(id).part.start;
        let stride = self.matrix(id).stride;
        self.source
            .release(start + rows.start * stride..start + rows.end * stride);
    }

    /// Bytes of the longest row.
    pub(crate) fn longest_row(&self) -> usize {
        let ids = (0..self.weights.len()).map(|id| WeightId(id as u32));
        ids.map(|id| self.matrix(id).stride).max().unwrap_or(0)
    }

    /// Row 0 of the result is a row of a matrix of which few are read. `buffer` holds
    /// [`Weights::longest_row`] bytes.
    pub(crate) fn single_row<'a>(
        &self,
        id: WeightId,
        row: usize,
        buffer: &'a mut [u8],
    ) -> MatrixRef<'a> {
        let matrix = self.matrix(id);
        let bytes = &mut buffer[..matrix.stride];
        self.source
            .copy(self.get(id).part.start + row * matrix.stride, bytes);
        MatrixRef { bytes, ..matrix }
    }

    /// Decodes one row of a matrix. `buffer` holds [`Weights::longest_row`] bytes.
    pub(crate) fn decode_row(&self, id: WeightId, row: usize, buffer: &mut [u8], out: &mut [f32]) {
        let matrix = self.single_row(id, row, buffer);
        matrix.format.dequantize_row(matrix.row(0), out);
        if matrix.scale != 1.0 {
            for x in out {
                *x *= matrix.scale;
            }
        }
    }
}
