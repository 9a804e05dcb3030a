//! The same ternary weights in an encoding that another reference reads:
//! I2_S to TQ2_0 and back, exactly or not at all.
//!
//! I2_S has one f32 scale for a tensor, TQ2_0 an f16 scale for each 256 weights.
//! The one becomes the other without loss when the f32 scale is an f16 value,
//! or when all blocks have the same scale. Nothing is ever rounded here.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use bitnet_gguf::{Gguf, TensorInfo, Value, Writer, tensor_type};
use bitnet_kernels::format::{i2_s, tq2_0};

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// For llama.cpp.
    ToTq2,
    /// For bitnet.cpp.
    ToI2s,
}

/// Why a file has no exact counterpart, or could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TranscodeError {
    /// A scale that f16 cannot hold.
    #[error(
        "tensor `{tensor}`: its scale {scale:e} is no f16 value, so TQ2_0 cannot hold these weights exactly"
    )]
    ScaleNotF16 {
        /// The tensor.
        tensor: String,
        /// Its scale.
        scale: f32,
    },
    /// Blocks with different scales.
    #[error(
        "tensor `{tensor}`: block {block} has scale {found:e}, earlier ones {first:e}; I2_S has one scale for all"
    )]
    ScalesDiffer {
        /// The tensor.
        tensor: String,
        /// The first block that differs.
        block: usize,
        /// The scale before.
        first: f32,
        /// Its scale.
        found: f32,
    },
    /// A code that means no trit.
    #[error(
        "tensor `{tensor}`: weight {index} has the code 3; the file is damaged or in another I2_S order"
    )]
    BadCode {
        /// The tensor.
        tensor: String,
        /// The weight.
        index: usize,
    },
    /// A row that TQ2_0 blocks do not fill.
    #[error(
        "tensor `{tensor}` has rows of {cols} weights, no multiple of the 256 of a TQ2_0 block"
    )]
    PartialBlock {
        /// The tensor.
        tensor: String,
        /// Weights in a row.
        cols: u64,
    },
    /// Nothing to do.
    #[error("the file has no {0} tensor")]
    NothingToDo(&'static str),
    /// The source is no sound GGUF file.
    #[error("cannot read the model: {0}")]
    Read(#[from] bitnet_gguf::Error),
    /// The target could not be written.
    #[error("cannot write the transcoded model: {0}")]
    Write(#[from] bitnet_gguf::WriteError),
    /// The target could not be made.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The target.
        path: std::path::PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Direction {
    /// The type read.
    pub const fn from(self) -> u32 {
        match self {
            Self::ToTq2 => tensor_type::I2_S,
            Self::ToI2s => tensor_type::TQ2_0,
        }
    }

    /// The type written.
    pub const fn to(self) -> u32 {
        match self {
            Self::ToTq2 => tensor_type::TQ2_0,
            Self::ToI2s => tensor_type::I2_S,
        }
    }

    /// `general.file_type` as the reference that reads the result numbers it.
    const fn file_type(self) -> u32 {
        match self {
            Self::ToTq2 => 37,
            Self::ToI2s => 40,
        }
    }
}

/// Writes `target` with the weights of `source` in the other encoding. All else is kept.
///
/// # Errors
/// When there is no exact counterpart, or a file cannot be read or written. A target that was begun
/// is removed again.
pub fn transcode(source: &Path, target: &Path, way: Direction) -> Result<(), TranscodeError> {
    let model = Gguf::open(source)?;
    let mut writer = Writer::new();
    for (key, value) in model.metadata().iter() {
        writer.set(key, value.clone());
    }
    writer.set("general.file_type", Value::U32(way.file_type()));
    let mut found = false;
    for tensor in model.tensors() {
        let convert = tensor.type_id == way.from();
        found |= convert;
        let kind = if convert { way.to() } else { tensor.type_id };
        let cols = tensor.shape.first().copied().unwrap_or(1);
        if convert && !cols.is_multiple_of(tq2_0::BLOCK as u64) {
            return Err(TranscodeError::PartialBlock {
                tensor: tensor.name.clone(),
                cols,
            });
        }
        writer.tensor(&tensor.name, &tensor.shape, kind)?;
    }
    if !found {
        return Err(TranscodeError::NothingToDo(
            bitnet_gguf::TensorType::name_of(way.from()),
        ));
    }
    let create = |source| TranscodeError::Create {
        path: target.to_owned(),
        source,
    };
    let file = File::create(target).map_err(create)?;
    let written = write_tensors(&model, writer, BufWriter::new(file), way);
    if written.is_err() {
        let _ = std::fs::remove_file(target);
    }
    written
}

fn write_tensors(
    model: &Gguf,
    writer: Writer,
    sink: BufWriter<File>,
    way: Direction,
) -> Result<(), TranscodeError> {
    let mut body = writer.begin(sink)?;
    for tensor in model.tensors() {
        let data = model.data(tensor)?;
        if tensor.type_id != way.from() {
            body.write(&tensor.name, data)?;
            continue;
        }
        let converted = match way {
            Direction::ToTq2 => to_tq2(tensor, data)?,
            Direction::ToI2s => to_i2s(tensor, data)?,
        };
        body.write(&tensor.name, &converted)?;
    }
    body.finish()?;
    Ok(())
}

fn to_tq2(tensor: &TensorInfo, data: &[u8]) -> Result<Vec<u8>, TranscodeError> {
    // The reader has checked the size, so there is a trailer.
    let (groups, scale) = i2_s::split(data).unwrap_or_default();
    if half::f16::from_f32(scale).to_f32() != scale {
        return Err(TranscodeError::ScaleNotF16 {
            tensor: tensor.name.clone(),
            scale,
        });
    }
    check_codes(tensor, i2_s::find_invalid_code(groups))?;
    let mut weights = vec![0; groups.len() * 4];
    i2_s::unpack_groups(groups, &mut weights);
    let mut packed = Vec::new();
    tq2_0::pack(&weights, scale, &mut packed);
    Ok(packed)
}

fn to_i2s(tensor: &TensorInfo, data: &[u8]) -> Result<Vec<u8>, TranscodeError> {
    check_codes(tensor, tq2_0::find_invalid_code(data))?;
    let mut packed = Vec::new();
    let mut common: Option<f32> = None;
    for (index, block) in tq2_0::blocks(data).iter().enumerate() {
        let weights = block.unpack();
        i2_s::pack_groups(&weights, &mut packed);
        // A block of zeros is the same whatever its scale.
        if weights.iter().all(|weight| *weight == 0) {
            continue;
        }
        let found = block.scale();
        match common {
            None => common = Some(found),
            Some(first) if first == found => {}
            Some(first) => {
                let tensor = tensor.name.clone();
                return Err(TranscodeError::ScalesDiffer {
                    tensor,
                    block: index,
                    first,
                    found,
                });
            }
        }
    }
    i2_s::pack_trailer(common.unwrap_or(1.0), &mut packed);
    Ok(packed)
}

fn check_codes(tensor: &TensorInfo, invalid: Option<usize>) -> Result<(), TranscodeError> {
    match invalid {
        None => Ok(()),
        Some(index) => Err(TranscodeError::BadCode {
            tensor: tensor.name.clone(),
            index,
        }),
    }
}
