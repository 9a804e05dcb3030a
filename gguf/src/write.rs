//! Writes GGUF version 3, little-endian. Tensor data is streamed: a file of any size needs no more
//! memory than its header.

use std::collections::HashSet;
use std::io::{self, Write};

use crate::file::is_alignment;
use crate::tensor::size;
use crate::{DEFAULT_ALIGNMENT, MAGIC, MAX_DIMS, Metadata, TensorType, Value};

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The sink failed.
    #[error("cannot write the file")]
    Io(#[from] io::Error),
    /// A second tensor of the same name.
    #[error("tensor `{tensor}` is declared twice")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// A tensor whose size is not known or not possible.
    #[error("tensor `{tensor}` cannot be of shape {shape:?} and type {type_id} ({})", TensorType::name_of(*type_id))]
    BadTensor {
        /// The tensor.
        tensor: String,
        /// Its dimensions, fastest first.
        shape: Vec<u64>,
        /// Its ggml type id.
        type_id: u32,
    },
    /// `general.alignment` is not a power of two of at least 8.
    #[error("`general.alignment` is {value}, not an integer that is a power of two of at least 8")]
    BadAlignment {
        /// The value set.
        value: Value,
    },
    /// Data for another tensor than the one that comes next.
    #[error("data for tensor `{found}` was given where that for {wanted} comes next")]
    OutOfOrder {
        /// The tensor that comes next, or that none does.
        wanted: String,
        /// The tensor given.
        found: String,
    },
    /// The end before every tensor had its data.
    #[error("the file is not complete: tensor `{tensor}` has no data yet")]
    Incomplete {
        /// The tensor that comes next.
        tensor: String,
    },
    /// More or less data than the tensor takes.
    #[error("tensor `{tensor}` takes {wanted} bytes, {found} were given")]
    WrongSize {
        /// The tensor.
        tensor: String,
        /// Its size in bytes.
        wanted: u64,
        /// Bytes given.
        found: u64,
    },
}

struct Declared {
    name: String,
    shape: Vec<u64>,
    type_id: u32,
    bytes: u64,
}

/// A file to be written: first its metadata and the list of its tensors, then their data, through
/// [`Body`].
#[derive(Default)]
pub struct Writer {
    metadata: Metadata,
    tensors: Vec<Declared>,
    names: HashSet<String>,
}

impl Writer {
    /// A file without metadata and tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a metadata value; a key that was set before keeps its place. `general.alignment` takes
    /// effect.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.metadata.set(key.into(), value.into());
        self
    }

    /// Declares the next tensor; `shape` is in GGUF's order, fastest first.
    ///
    /// # Errors
    /// [`WriteError::DuplicateTensor`]; [`WriteError::BadTensor`] for a type of unknown size, too
    /// many dimensions, no elements, or rows that do not hold whole blocks.
    pub fn tensor(
        &mut self,
        name: impl Into<String>,
        shape: &[u64],
        type_id: u32,
    ) -> Result<&mut Self, WriteError> {
        let name = name.into();
        let bytes = shape
            .iter()
            .try_fold(1u64, |elements, dim| elements.checked_mul(*dim))
            .filter(|elements| *elements > 0 && shape.len() <= MAX_DIMS)
            .and_then(|elements| size(shape, elements, type_id));
        let Some(bytes) = bytes else {
            return Err(WriteError::BadTensor {
                tensor: name,
                shape: shape.to_vec(),
                type_id,
            });
        };
        if !self.names.insert(name.clone()) {
            return Err(WriteError::DuplicateTensor { tensor: name });
        }
        self.tensors.push(Declared {
            name,
            shape: shape.to_vec(),
            type_id,
            bytes,
        });
        Ok(self)
    }

    /// Writes everything up to the tensors' data. `sink` should be buffered.
    ///
    /// # Errors
    /// [`WriteError::BadAlignment`], and those of `sink`.
    pub fn begin<W: Write>(self, mut sink: W) -> Result<Body<W>, WriteError> {
        let alignment = self.alignment()?;
        let mut header = Vec::new();
        header.extend(MAGIC);
        header.extend(3u32.to_le_bytes());
        header.extend((self.tensors.len() as u64).to_le_bytes());
        header.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in self.metadata.iter() {
            push_str(&mut header, key);
            header.extend((value.value_type() as u32).to_le_bytes());
            value.encode(&mut header);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            push_str(&mut header, &tensor.name);
            header.extend((tensor.shape.len() as u32).to_le_bytes());
            for dim in &tensor.shape {
                header.extend(dim.to_le_bytes());
            }
            header.extend(tensor.type_id.to_le_bytes());
            header.extend(offset.to_le_bytes());
            offset = tensor
                .bytes
                .checked_next_multiple_of(alignment)
                .and_then(|bytes| offset.checked_add(bytes))
                .ok_or_else(|| WriteError::BadTensor {
                    tensor: tensor.name.clone(),
                    shape: tensor.shape.clone(),
                    type_id: tensor.type_id,
                })?;
        }
        header.resize(header.len().next_multiple_of(alignment as usize), 0);
        sink.write_all(&header)?;
        Ok(Body {
            sink,
            tensors: self.tensors.into_iter(),
            alignment,
        })
    }

    fn alignment(&self) -> Result<u64, WriteError> {
        let Some(value) = self.metadata.get("general.alignment") else {
            return Ok(DEFAULT_ALIGNMENT.into());
        };
        value
            .as_integer()
            .and_then(|alignment| u32::try_from(alignment).ok())
            .filter(|alignment| is_alignment(*alignment))
            .map(u64::from)
            .ok_or_else(|| WriteError::BadAlignment {
                value: value.clone(),
            })
    }
}

/// The second half of a file: the data of each tensor, in the order of their declaration.
pub struct Body<W> {
    sink: W,
    tensors: std::vec::IntoIter<Declared>,
    alignment: u64,
}

impl<W: Write> Body<W> {
    /// Writes the data of the tensor `name`, which must be the next one.
    ///
    /// # Errors
    /// [`WriteError::OutOfOrder`], [`WriteError::WrongSize`], and those of the sink.
    pub fn write(&mut self, name: &str, data: &[u8]) -> Result<(), WriteError> {
        self.write_with(name, |sink| sink.write_all(data))
    }

    /// Writes the data of the tensor `name`, which must be the next one, in as many pieces as
    /// `fill` likes.
    ///
    /// # Errors
    /// [`WriteError::OutOfOrder`], [`WriteError::WrongSize`], and those of the sink.
    pub fn write_with(
        &mut self,
        name: &str,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let tensor = match self.tensors.next() {
            Some(tensor) if tensor.name == name => tensor,
            other => {
                return Err(WriteError::OutOfOrder {
                    wanted: other.map_or("nothing".to_owned(), |next| format!("`{}`", next.name)),
                    found: name.to_owned(),
                });
            }
        };
        let mut counted = Counted {
            sink: &mut self.sink,
            bytes: 0,
        };
        fill(&mut counted)?;
        if counted.bytes != tensor.bytes {
            return Err(WriteError::WrongSize {
                tensor: tensor.name,
                wanted: tensor.bytes,
                found: counted.bytes,
            });
        }
        let padding = tensor.bytes.next_multiple_of(self.alignment) - tensor.bytes;
        io::copy(&mut io::Read::take(io::repeat(0), padding), &mut self.sink)?;
        Ok(())
    }

    /// Checks that every tensor was written and hands the sink back, flushed.
    ///
    /// # Errors
    /// [`WriteError::Incomplete`], and those of the sink.
    pub fn finish(mut self) -> Result<W, WriteError> {
        if let Some(missing) = self.tensors.next() {
            return Err(WriteError::Incomplete {
                tensor: missing.name,
            });
        }
        self.sink.flush()?;
        Ok(self.sink)
    }
}

fn push_str(header: &mut Vec<u8>, string: &str) {
    header.extend((string.len() as u64).to_le_bytes());
    header.extend(string.as_bytes());
}

/// Counts what passes through to the sink.
struct Counted<'a, W> {
    sink: &'a mut W,
    bytes: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(data)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
