//! A matrix and the activations it meets, as the kernels see them.

use bitnet_kernels::Format;

/// A weight matrix where it lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixRef<'a> {
    pub(crate) format: Format,
    /// Rows, one after another.
    pub(crate) bytes: &'a [u8],
    /// Bytes of a row.
    pub(crate) stride: usize,
    /// The tensor's scale (`I2_S`); 1 elsewhere.
    pub(crate) scale: f32,
}

impl<'a> MatrixRef<'a> {
    pub(crate) fn row(&self, row: usize) -> &'a [u8] {
        &self.bytes[row * self.stride..(row + 1) * self.stride]
    }
}

/// Encoded activations, `[tokens, width]`. Which fields are in use is the encoding's matter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Encoded<'a> {
    pub(crate) width: usize,
    /// `F32`: the values.
    pub(crate) values: &'a [f32],
    /// The other encodings: the integers.
    pub(crate) q: &'a [i8],
    /// Scales, `[tokens, scales_per_token]`.
    pub(crate) scales: &'a [f32],
    /// Sums of the integers that share a scale.
    pub(crate) sums: &'a [i32],
    pub(crate) scales_per_token: usize,
}

impl<'a> Encoded<'a> {
    pub(crate) fn values(&self, token: usize) -> &'a [f32] {
        &self.values[token * self.width..(token + 1) * self.width]
    }
    pub(crate) fn q(&self, token: usize) -> &'a [i8] {
        &self.q[token * self.width..(token + 1) * self.width]
    }
    pub(crate) fn scales(&self, token: usize) -> &'a [f32] {
        &self.scales[token * self.scales_per_token..(token + 1) * self.scales_per_token]
    }
    pub(crate) fn sums(&self, token: usize) -> &'a [i32] {
        &self.sums[token * self.scales_per_token..(token + 1) * self.scales_per_token]
    }
}
