//! The backend's buffers of activations.

use bitnet_kernels::format::Encoding;
use bitnet_kernels::program::BufferDesc;

use crate::memory::shared::SharedSlice;
use crate::microkernel::operands::Encoded;

/// One buffer; which of the fields are in use is its encoding's matter.
pub(crate) struct Buffer {
    pub(crate) width: usize,
    pub(crate) encoding: Encoding,
    pub(crate) values: SharedSlice<f32>,
    pub(crate) q: SharedSlice<i8>,
    pub(crate) scales: SharedSlice<f32>,
    pub(crate) sums: SharedSlice<i32>,
}

impl Buffer {
    pub(crate) fn new(desc: &BufferDesc) -> Buffer {
        Buffer {
            width: desc.width,
            encoding: desc.encoding,
            values: SharedSlice::default(),
            q: SharedSlice::default(),
            scales: SharedSlice::default(),
            sums: SharedSlice::default(),
        }
    }

    /// Scales of one row.
    pub(crate) fn scales_per_row(&self) -> usize {
        self.encoding.scales_per_row(self.width)
    }

    /// Makes room for `rows` rows.
    pub(crate) fn reserve(&mut self, rows: usize) {
        if self.encoding == Encoding::F32 {
            self.values.reserve(rows * self.width);
        } else {
            self.q.reserve(rows * self.width);
            self.scales.reserve(rows * self.scales_per_row());
            self.sums.reserve(rows * self.scales_per_row());
        }
    }

    /// The first `rows` rows.
    ///
    /// # Safety
    /// - They were written by earlier operations and nobody writes them now.
    pub(crate) unsafe fn encoded(&self, rows: usize) -> Encoded<'_> {
        let (floats, integers) = match self.encoding {
            Encoding::F32 => (rows * self.width, 0),
            _ => (0, rows * self.width),
        };
        let scales = rows * self.scales_per_row();
        // SAFETY: the caller's promise.
        unsafe {
            Encoded {
                width: self.width,
                values: self.values.read(0..floats),
                q: self.q.read(0..integers),
                scales: self.scales.read(0..scales),
                sums: self.sums.read(0..scales),
                scales_per_token: self.scales_per_row(),
            }
        }
    }

    /// The first `rows` rows, decoded: `[rows, width]`.
    pub(crate) fn decode(&mut self, rows: usize) -> Vec<f32> {
        let scales_per_row = self.scales_per_row();
        if self.encoding == Encoding::F32 {
            return self.values.as_mut()[..rows * self.width].to_vec();
        }
        let block = self.width / scales_per_row;
        let scales = self.scales.as_mut();
        let decoded = self.q.as_mut()[..rows * self.width]
            .iter()
            .enumerate()
            .map(|(i, q)| self.encoding.decode(*q, scales[i / block]));
        decoded.collect()
    }
}
