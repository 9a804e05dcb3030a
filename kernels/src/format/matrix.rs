//! A matrix of any format: rows of packed weights, read one at a time.
//!
//! This is how the oracle, tests and checks read weights. It allocates nothing and is not fast.

use super::Format;

/// A matrix of packed weights, `rows` by `cols`, in bytes that belong to somebody else.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    format: Format,
    rows: usize,
    cols: usize,
    /// The rows, without what may follow them.
    packed: &'a [u8],
    /// The scale of all weights; 1 where the format keeps none for the tensor.
    scale: f32,
}

/// Why bytes are not the matrix they are said to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// Rows do not hold whole blocks.
    #[error("rows of {cols} weights are no multiple of the {} in a block of {format}", format.block_len())]
    PartialBlock {
        /// The format.
        format: Format,
        /// Weights in a row.
        cols: usize,
    },
    /// More or fewer bytes than the shape takes.
    #[error("{rows} x {cols} weights of {format} take {wanted} bytes, not {found}")]
    Size {
        /// The format.
        format: Format,
        /// Rows.
        rows: usize,
        /// Weights in a row.
        cols: usize,
        /// Bytes that the shape takes.
        wanted: usize,
        /// Bytes given.
        found: usize,
    },
}

/// A weight whose code its format does not define.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidCode {
    /// Its row.
    pub row: usize,
    /// Its place in the row.
    pub col: usize,
}

impl<'a> Matrix<'a> {
    /// Looks at `bytes` as a matrix. For a tensor, `cols` is its first dimension and `rows` its
    /// second.
    ///
    /// # Errors
    /// When the shape is not possible for the format or takes another number of bytes.
    pub fn new(
        format: Format,
        rows: usize,
        cols: usize,
        bytes: &'a [u8],
    ) -> Result<Self, MatrixError> {
        let wanted = match format.row_bytes(cols) {
            None => return Err(MatrixError::PartialBlock { format, cols }),
            Some(_) => format.matrix_bytes(rows, cols).unwrap_or(usize::MAX),
        };
        if bytes.len() != wanted {
            return Err(MatrixError::Size {
                format,
                rows,
                cols,
                wanted,
                found: bytes.len(),
            });
        }
        let (packed, scale) = format.split(bytes).unwrap_or((bytes, 1.0));
        Ok(Self {
            format,
            rows,
            cols,
            packed,
            scale,
        })
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Weights in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The scale of the whole tensor: that of `I2_S`, 1 for formats that keep theirs in each block.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The packed bytes of a row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &'a [u8] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        let len = self.packed.len() / self.rows;
        &self.packed[row * len..][..len]
    }

    /// Reads a row as f32.
    ///
    /// # Panics
    /// If there is no such row, or `out` has not one place per weight.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols);
        self.format.dequantize_row(self.row(row), out);
        if self.scale != 1.0 {
            out.iter_mut().for_each(|weight| *weight *= self.scale);
        }
    }

    /// Reads a row of ternary weights as -1, 0 and 1.
    ///
    /// # Panics
    /// If the format is not ternary, there is no such row, or `out` has not one place per weight.
    pub fn unpack_row(&self, row: usize, out: &mut [i8]) {
        assert_eq!(out.len(), self.cols);
        self.format.unpack_row(self.row(row), out);
    }

    /// The first weight whose code its format does not define: damage, or an order of codes that
    /// this project does not read. Reads every byte of a format that has such codes.
    pub fn find_invalid_code(&self) -> Option<InvalidCode> {
        let find = self.format.descriptor().find_invalid_code?;
        let weight = find(self.packed)?;
        Some(InvalidCode {
            row: weight / self.cols,
            col: weight % self.cols,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trits(len: usize) -> Vec<i8> {
        (0..len).map(|i| ((i * i + i / 7) % 3) as i8 - 1).collect()
    }

    /// 3 rows of 256 ternary weights with scale 0.5.
    fn packed(format: Format) -> Vec<u8> {
        let mut bytes = Vec::new();
        for row in trits(3 * 256).chunks(256) {
            format.pack_trits(row, 0.5, &mut bytes);
        }
        format.pack_trailer(0.5, &mut bytes);
        bytes
    }

    #[test]
    fn every_format_reads_each_row_back() {
        for format in Format::ALL {
            let bytes = packed(format);
            let matrix = Matrix::new(format, 3, 256, &bytes).unwrap();
            for row in 0..3 {
                let mut out = [f32::NAN; 256];
                matrix.dequantize_row(row, &mut out);
                for (out, trit) in out.iter().zip(&trits(3 * 256)[row * 256..]) {
                    let weight = 0.5 * f32::from(*trit);
                    // Blocks of floats round, at worst to four bits: a step of an eighth. Where
                    // there are signs alone, all become the mean magnitude, here some two thirds.
                    let tolerance = match (format.is_ternary(), format.block_len()) {
                        (true, _) | (_, 1) => 0.0,
                        _ if format == Format::Q1_0 => 0.5 * 0.75,
                        _ => 0.5 / 8.0,
                    };
                    assert!((out - weight).abs() <= tolerance, "{format}: {out}");
                }
                if format.is_ternary() {
                    let mut codes = [9; 256];
                    matrix.unpack_row(row, &mut codes);
                    assert_eq!(codes, trits(3 * 256)[row * 256..][..256], "{format}");
                }
            }
            assert_eq!(matrix.find_invalid_code(), None, "{format}");
        }
    }

    #[test]
    fn an_invalid_code_is_placed_by_row_and_column() {
        let mut bytes = packed(Format::I2S);
        bytes[64 + 32 + 5] |= 3 << 4;
        let matrix = Matrix::new(Format::I2S, 3, 256, &bytes).unwrap();
        let found = Some(InvalidCode {
            row: 1,
            col: 128 + 32 + 5,
        });
        assert_eq!(matrix.find_invalid_code(), found);
    }

    #[test]
    fn a_wrong_size_is_an_error() {
        let bytes = [0; 100];
        let error = Matrix::new(Format::I2S, 3, 256, &bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 x 256 weights of I2_S take 224 bytes, not 100"
        );
        let error = Matrix::new(Format::TQ2_0, 1, 100, &bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "rows of 100 weights are no multiple of the 256 in a block of TQ2_0"
        );
    }
}
