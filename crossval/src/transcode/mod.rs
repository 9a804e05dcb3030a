//! The same ternary weights in an encoding that another reference reads:
//! I2_S to TQ2_0 and back, exactly or not at all.
//!
//! I2_S has one f32 scale for a tensor, TQ2_0 an f16 scale for each 256 weights.
//! The one becomes the other without loss when the f32 scale is an f16 value,
//! or when all blocks have the same scale. Nothing is ever rounded here.

mod trits;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use bitnet_gguf::{Gguf, TensorInfo, Value, Writer, tensor_type};

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
/// When there is no exact counterpart, or a file cannot be read or written. A target that was begun is
/// removed again.
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
        if convert && !cols.is_multiple_of(trits::TQ2_BLOCK as u64) {
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
    let codes_end = data.len() - trits::I2S_TRAILER;
    let scale = f32::from_le_bytes(std::array::from_fn(|i| data[codes_end + i]));
    let half = half::f16::from_f32(scale);
    if half.to_f32() != scale {
        return Err(TranscodeError::ScaleNotF16 {
            tensor: tensor.name.clone(),
            scale,
        });
    }
    let codes = trits::read_i2s(data, codes_end * 4);
    check_codes(tensor, &codes, 0)?;
    let (blocks, _) = codes.as_chunks::<{ trits::TQ2_BLOCK }>();
    Ok(blocks
        .iter()
        .flat_map(|block| trits::write_tq2(block, half.to_bits()))
        .collect())
}

fn to_i2s(tensor: &TensorInfo, data: &[u8]) -> Result<Vec<u8>, TranscodeError> {
    let (blocks, _) = data.as_chunks::<{ trits::TQ2_BYTES }>();
    let mut codes = Vec::with_capacity(blocks.len() * trits::TQ2_BLOCK);
    let mut common: Option<f32> = None;
    for (index, block) in blocks.iter().enumerate() {
        let (weights, bits) = trits::read_tq2(block);
        check_codes(tensor, &weights, codes.len())?;
        codes.extend(weights);
        // A block of zeros is the same whatever its scale.
        if weights.iter().all(|code| *code == 1) {
            continue;
        }
        let found = half::f16::from_bits(bits).to_f32();
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
    Ok(trits::write_i2s(&codes, common.unwrap_or(1.0)))
}

fn check_codes(tensor: &TensorInfo, codes: &[u8], start: usize) -> Result<(), TranscodeError> {
    match codes.iter().position(|code| *code == 3) {
        None => Ok(()),
        Some(index) => Err(TranscodeError::BadCode {
            tensor: tensor.name.clone(),
            index: start + index,
        }),
    }
}
