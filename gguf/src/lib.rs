//! GGUF reader and writer: memory-mapped, bounds-checked, no arithmetic.
//!
//! [`Gguf`] opens a file (or all parts of a model in several files), a buffer or bytes that are
//! part of the program, checks every length and offset before it uses them, and hands out the
//! metadata and the tensors' bytes where they lie. [`Writer`] streams a file out. What a tensor's
//! bytes *mean* is not known here: this crate knows block sizes ([`TensorType`]), nothing about
//! weights.
//!
//! ```
//! use bitnet_gguf::{Gguf, Value, Writer, tensor_type};
//!
//! let mut writer = Writer::new();
//! writer.set("general.architecture", "llama");
//! writer.tensor("output_norm.weight", &[4], tensor_type::F32)?;
//! let mut body = writer.begin(Vec::new())?;
//! body.write("output_norm.weight", &[0; 16])?;
//! let file = body.finish()?;
//!
//! let gguf = Gguf::from_bytes(file)?;
//! assert_eq!(gguf.metadata().str("general.architecture")?, "llama");
//! let norm = gguf.tensor("output_norm.weight").expect("just written");
//! assert_eq!(gguf.data(norm)?.len(), 16);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cursor;
mod error;
mod file;
pub mod keys;
mod map;
mod metadata;
mod open;
mod parts;
mod q2_0;
mod shown;
mod storage;
mod tensor;
pub mod tensor_type;
mod value;
mod write;

pub use error::Error;
pub use file::Gguf;
pub use map::Map;
pub use metadata::Metadata;
pub use shown::{Printed, Shown};
pub use tensor::TensorInfo;
pub use tensor_type::TensorType;
pub use value::{Array, Strings, Value, ValueType};
pub use write::{Body, WriteError, Writer};

/// What every GGUF file begins with.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// Where tensor data is aligned to when a file does not say (`general.alignment`), in bytes.
pub const DEFAULT_ALIGNMENT: u32 = 32;

/// The most dimensions a tensor can have.
pub const MAX_DIMS: usize = 4;

/// How deep arrays may lie in arrays. Real files do not nest them at all.
pub const MAX_ARRAY_DEPTH: usize = 4;
