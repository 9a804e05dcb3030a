//! The WGSL code generator: kernel sources with named holes become shaders for one device.
//!
//! A [`Kernel`] says what is computed, a [`Target`] what the device has. [`generate`] fills the
//! holes of the source in `shaders/`, [`Shader`] is the text with what naga reads in it: bindings
//! and workgroup size are never written down twice. Sizes of matrices are pipeline constants, so
//! that the number of shaders stays small. Nothing here talks to a device.

mod kernel;
mod shader;
mod storage;
mod template;
mod translate;

pub use kernel::{
    Encoder, Kernel, MAX_BLOCK_COLS, MAX_DELTA_SIZE, MAX_EXPERTS, MAX_HEAD_DIM, SPAN, Softmax,
    Store, Target, permutations,
};
pub use shader::{Access, Binding, Shader, ShaderError, generate};
pub use template::{Source, TemplateError, expand};
pub use translate::{Language, translate};
