//! What a file says about one tensor.

use std::ops::Range;

use crate::{Error, TensorType};

/// One tensor: its name, shape and type, and where its bytes lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The name, unique in the file.
    pub name: String,
    /// The dimensions in GGUF's order, fastest first: a matrix of `rows` by `cols` is `[cols,
    /// rows]`. A single number has none.
    pub shape: Vec<u64>,
    /// The ggml type id; [`TensorInfo::tensor_type`] looks it up. It is the one in the file, but
    /// for tensors of `Q2_0` in the blocks of 128 that were written before that type was settled:
    /// those have the id that this layout has now, `PQ2_0`'s.
    pub type_id: u32,
    /// Where the data begins, in bytes from the start of the file.
    pub offset: u64,
    /// The size of the data, or `None` where [`TensorInfo::byte_len`] says why it is unknown.
    pub bytes: Option<u64>,
}

impl TensorInfo {
    /// The type, if this crate knows it.
    pub fn tensor_type(&self) -> Option<&'static TensorType> {
        TensorType::from_id(self.type_id)
    }

    /// The name of the type, `unknown` where there is none.
    pub fn type_name(&self) -> &'static str {
        TensorType::name_of(self.type_id)
    }

    /// The number of weights. Cannot overflow for a tensor that a file was opened with.
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }

    /// The size of the data in bytes.
    ///
    /// # Errors
    /// [`Error::UnsizedType`] and [`Error::PartialBlock`] where the size cannot be known.
    pub fn byte_len(&self) -> Result<u64, Error> {
        if let Some(bytes) = self.bytes {
            return Ok(bytes);
        }
        Err(match self.tensor_type().and_then(|known| known.block) {
            Some(block) => Error::PartialBlock {
                tensor: self.name.clone(),
                shape: self.shape.clone(),
                name: self.type_name(),
                block: block.len,
            },
            None => Error::UnsizedType {
                tensor: self.name.clone(),
                id: self.type_id,
                name: self.type_name(),
            },
        })
    }

    /// The bytes of the file that hold the data.
    ///
    /// # Errors
    /// Those of [`TensorInfo::byte_len`], and [`Error::OutOfBounds`] where the range cannot be
    /// addressed.
    pub fn range(&self) -> Result<Range<usize>, Error> {
        let bytes = self.byte_len()?;
        let end = self.offset.checked_add(bytes);
        match (usize::try_from(self.offset), end.map(usize::try_from)) {
            (Ok(start), Some(Ok(end))) => Ok(start..end),
            _ => Err(Error::OutOfBounds {
                tensor: self.name.clone(),
                offset: self.offset,
                bytes,
                file_len: usize::MAX as u64,
            }),
        }
    }
}

/// The size of a tensor, or `None` where its type has no known size or its rows hold no whole
/// blocks.
pub(crate) fn size(shape: &[u64], elements: u64, type_id: u32) -> Option<u64> {
    let row = shape.first().copied().unwrap_or(1);
    TensorType::from_id(type_id)?
        .block?
        .tensor_bytes(elements, row)
}
