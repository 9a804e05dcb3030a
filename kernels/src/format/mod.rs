//! Weight formats: what a tensor's bytes mean.
//!
//! Each format has a file of its own that draws its block and packs and unpacks it, plainly. Speed
//! is the backends' business.

pub mod i2_s;
pub mod matrix;
pub mod plain;
pub mod q6_k;
pub mod q8_0;
mod row;
pub mod tq1_0;
pub mod tq2_0;

use std::fmt;

pub use matrix::{InvalidCode, Matrix, MatrixError};
pub use row::{dequantize_row, unpack_row};

/// A tensor encoding that this project computes with. The numbers are ggml's type ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Format {
    /// IEEE binary32.
    F32 = 0,
    /// IEEE binary16.
    F16 = 1,
    /// 32 signed bytes and one f16 scale.
    Q8_0 = 8,
    /// 256 weights of 6 bits, sixteen 8-bit sub-scales and one f16 scale.
    Q6K = 14,
    /// bfloat16.
    BF16 = 30,
    /// Ternary, five trits to a byte, one f16 scale per 256 weights.
    TQ1_0 = 34,
    /// Ternary, two bits a weight, one f16 scale per 256 weights.
    TQ2_0 = 35,
    /// Ternary, two bits a weight in groups of 128, one f32 scale for the tensor.
    I2S = 36,
}

/// How a row of activations must be encoded before it meets a matrix. It belongs to the matrix's
/// format: the references quantise activations differently for each, and so must we to stay
/// comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Plain f32.
    F32,
    /// i8 with one scale per token: `q = round(x * 127 / max|x|)`. Meets [`Format::I2S`].
    I8,
    /// i8 with one f32 scale per 256 values. Meets [`Format::TQ1_0`], [`Format::TQ2_0`] and
    /// [`Format::Q6K`].
    Q8K,
    /// i8 with one f16-rounded scale per 32 values. Meets [`Format::Q8_0`].
    Q8_0,
}

impl Format {
    /// Every format, in the order of their ids.
    pub const ALL: [Format; 8] = [
        Format::F32,
        Format::F16,
        Format::Q8_0,
        Format::Q6K,
        Format::BF16,
        Format::TQ1_0,
        Format::TQ2_0,
        Format::I2S,
    ];

    /// The format with this ggml type id, if this project computes with it.
    pub fn from_ggml(id: u32) -> Option<Format> {
        Format::ALL.into_iter().find(|format| *format as u32 == id)
    }

    /// The name that ggml gives the type, in upper case.
    pub const fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::Q8_0 => "Q8_0",
            Format::Q6K => "Q6_K",
            Format::BF16 => "BF16",
            Format::TQ1_0 => "TQ1_0",
            Format::TQ2_0 => "TQ2_0",
            Format::I2S => "I2_S",
        }
    }

    /// Weights in a block. A row's length must be a multiple of it.
    pub const fn block_len(self) -> usize {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => 1,
            Format::Q8_0 => 32,
            Format::I2S => 128,
            Format::Q6K | Format::TQ1_0 | Format::TQ2_0 => 256,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::BF16 => 2,
            Format::Q8_0 => 34,
            Format::Q6K => 210,
            Format::TQ1_0 => 54,
            Format::TQ2_0 => 66,
            Format::I2S => 32,
        }
    }

    /// Bytes of one row of `cols` weights, or `None` when `cols` is no multiple of the block.
    pub const fn row_bytes(self, cols: usize) -> Option<usize> {
        if !cols.is_multiple_of(self.block_len()) {
            return None;
        }
        (cols / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Bytes of a matrix of `rows` by `cols`, the trailing scale of [`Format::I2S`] included.
    pub const fn matrix_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        let Some(row) = self.row_bytes(cols) else {
            return None;
        };
        let Some(bytes) = row.checked_mul(rows) else {
            return None;
        };
        match self {
            Format::I2S => bytes.checked_add(32),
            _ => Some(bytes),
        }
    }

    /// The encoding of the activations that this format is multiplied with.
    pub const fn encoding(self) -> Encoding {
        match self {
            Format::F32 | Format::F16 | Format::BF16 => Encoding::F32,
            Format::I2S => Encoding::I8,
            Format::TQ1_0 | Format::TQ2_0 | Format::Q6K => Encoding::Q8K,
            Format::Q8_0 => Encoding::Q8_0,
        }
    }

    /// Whether every weight is -1, 0 or 1 times a scale.
    pub const fn is_ternary(self) -> bool {
        matches!(self, Format::I2S | Format::TQ1_0 | Format::TQ2_0)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Encoding {
    /// Values that share a scale; 1 where there is none, `None` where the whole row shares one.
    pub const fn block_len(self) -> Option<usize> {
        match self {
            Encoding::F32 => Some(1),
            Encoding::I8 => None,
            Encoding::Q8K => Some(256),
            Encoding::Q8_0 => Some(32),
        }
    }
}
