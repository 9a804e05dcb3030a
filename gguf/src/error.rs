//! What can be wrong with a GGUF file, or with a question about one.
//!
//! Every error about the file names the field and the byte at which it lies, counted from the start
//! of the file.

use std::io;
use std::path::PathBuf;

use crate::Shown;

/// Why a file could not be read, or did not hold what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system would not open or map the file.
    #[error("cannot open {}", path.display())]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The path leads to something other than a regular file.
    #[error("{} is {found}, not a file; give the path of a .gguf file", path.display())]
    NotAFile {
        /// What was to be opened.
        path: PathBuf,
        /// What is there instead.
        found: &'static str,
    },
    /// A file that is in use became shorter.
    #[error("the file lost {missing} bytes while it was in use; put the whole file there again")]
    Shortened {
        /// Bytes that are gone.
        missing: usize,
    },
    /// There are no bytes at all.
    #[error("the file is empty; the download or copy probably never finished")]
    Empty,
    /// The file does not begin with [`MAGIC`](crate::MAGIC).
    #[error("not a GGUF file: it begins with \"{}\" at byte 0, not \"GGUF\"{hint}", found.escape_ascii())]
    BadMagic {
        /// The first four bytes.
        found: [u8; 4],
        /// What such a file usually is, or empty.
        hint: &'static str,
    },
    /// The file is meant for big-endian machines.
    #[error(
        "the file is big-endian (version at byte 4 reads {version} when swapped); convert it to little-endian"
    )]
    BigEndian {
        /// The version after swapping its bytes.
        version: u32,
    },
    /// A version of the format that this crate does not read.
    #[error(
        "GGUF version {version} at byte 4 is not supported, only 2 and 3 are; convert the model again"
    )]
    UnsupportedVersion {
        /// The version found.
        version: u32,
    },
    /// The file ends inside a field.
    #[error(
        "the file ends inside {field} at byte {offset}: {needed} bytes wanted, {available} left",
        field = Shown(field)
    )]
    Truncated {
        /// The field.
        field: String,
        /// Where it starts.
        offset: u64,
        /// Its size in bytes.
        needed: u64,
        /// Bytes from there to the end of the file.
        available: u64,
    },
    /// A count that the rest of the file could not hold.
    #[error(
        "{field} at byte {offset} is {count}, but the {available} bytes that follow cannot hold that many",
        field = Shown(field)
    )]
    CountTooLarge {
        /// The field.
        field: String,
        /// Where it lies.
        offset: u64,
        /// The value found.
        count: u64,
        /// Bytes from there to the end of the file.
        available: u64,
    },
    /// A string that is not UTF-8.
    #[error("{field} at byte {offset} is not valid UTF-8", field = Shown(field))]
    NotUtf8 {
        /// The field.
        field: String,
        /// The first byte that is wrong.
        offset: u64,
    },
    /// A metadata value of a type that GGUF does not define.
    #[error("metadata `{key}` has the unknown value type {id} at byte {offset}", key = Shown(key))]
    UnknownValueType {
        /// The metadata key.
        key: String,
        /// Where the type lies.
        offset: u64,
        /// The type found.
        id: u32,
    },
    /// A boolean other than 0 or 1.
    #[error(
        "metadata `{key}` holds {value} at byte {offset}, which is no boolean (0 or 1)",
        key = Shown(key)
    )]
    InvalidBool {
        /// The metadata key.
        key: String,
        /// Where the byte lies.
        offset: u64,
        /// The byte found.
        value: u8,
    },
    /// Arrays in arrays, more than [`MAX_ARRAY_DEPTH`](crate::MAX_ARRAY_DEPTH) of them.
    #[error(
        "metadata `{key}` nests arrays more than {} deep at byte {offset}",
        crate::MAX_ARRAY_DEPTH,
        key = Shown(key)
    )]
    NestedTooDeep {
        /// The metadata key.
        key: String,
        /// Where the innermost array begins.
        offset: u64,
    },
    /// A key that was there before.
    #[error("metadata key `{key}` at byte {offset} occurs twice", key = Shown(key))]
    DuplicateKey {
        /// The metadata key.
        key: String,
        /// Where its second entry begins.
        offset: u64,
    },
    /// An alignment that is no power of two, or less than 8.
    #[error("`general.alignment` is {value}, not a power of two of at least 8")]
    BadAlignment {
        /// The value found.
        value: u32,
    },
    /// A tensor of more than [`MAX_DIMS`](crate::MAX_DIMS) dimensions.
    #[error(
        "tensor `{tensor}` has {dims} dimensions at byte {offset}, at most {} are possible",
        crate::MAX_DIMS,
        tensor = Shown(tensor)
    )]
    TooManyDims {
        /// The tensor.
        tensor: String,
        /// Where the number lies.
        offset: u64,
        /// The number found.
        dims: u32,
    },
    /// A tensor without elements, or with more than can be counted.
    #[error(
        "tensor `{tensor}` has the impossible shape {shape:?} at byte {offset}",
        tensor = Shown(tensor)
    )]
    BadShape {
        /// The tensor.
        tensor: String,
        /// Where its shape begins.
        offset: u64,
        /// Its dimensions, fastest first.
        shape: Vec<u64>,
    },
    /// A tensor name that was there before.
    #[error("tensor name `{tensor}` at byte {offset} occurs twice", tensor = Shown(tensor))]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
        /// Where its second description begins.
        offset: u64,
    },
    /// Tensor data that does not begin at a multiple of the alignment.
    #[error(
        "tensor `{tensor}` has the data offset {data_offset} at byte {offset}, no multiple of the alignment {alignment}",
        tensor = Shown(tensor)
    )]
    Misaligned {
        /// The tensor.
        tensor: String,
        /// Where the field lies.
        offset: u64,
        /// The offset found, counted from the start of the data section.
        data_offset: u64,
        /// The file's alignment.
        alignment: u32,
    },
    /// Tensors of `Q2_0`, whose blocks once were longer, and no size tells which blocks they have.
    #[error(
        "tensor `{tensor}` of type 42 (Q2_0) has room for {room} bytes at byte {offset} of the data; blocks of 64 weights would take {of_64}, the blocks of 128 of older files {of_128}, and no tensor of the type tells which the file has; convert the model again"
    )]
    AmbiguousBlocks {
        /// The tensor.
        tensor: String,
        /// Where its data begins, counted from the start of the data section.
        offset: u64,
        /// Bytes up to the next tensor or the end of the file.
        room: u64,
        /// What blocks of 64 weights would take.
        of_64: u64,
        /// What blocks of 128 would.
        of_128: u64,
    },
    /// Tensors of `Q2_0` in blocks of different lengths.
    #[error(
        "tensors of type 42 (Q2_0) are of different blocks by their sizes: `{second}` of {second_has} weights, `{first}` of others; the file is damaged or put together from different ones"
    )]
    MixedBlocks {
        /// A tensor.
        first: String,
        /// One that differs.
        second: String,
        /// Weights of its blocks.
        second_has: u32,
    },
    /// Tensor data that reaches beyond the end of the file.
    #[error(
        "tensor `{tensor}` needs {bytes} bytes at byte {offset}, but the file ends at byte {file_len}; it is incomplete or damaged",
        tensor = Shown(tensor)
    )]
    OutOfBounds {
        /// The tensor.
        tensor: String,
        /// Where its data begins.
        offset: u64,
        /// Its size in bytes.
        bytes: u64,
        /// The size of the file.
        file_len: u64,
    },
    /// Two tensors that share bytes.
    #[error(
        "tensors `{first}` and `{second}` overlap at byte {offset}",
        first = Shown(first),
        second = Shown(second)
    )]
    Overlap {
        /// The tensor that begins first.
        first: String,
        /// The tensor that begins inside it.
        second: String,
        /// Where the second begins.
        offset: u64,
    },
    /// The data of a tensor whose type this crate cannot size.
    #[error(
        "tensor `{tensor}` has type {id} ({name}), whose size is not known",
        tensor = Shown(tensor)
    )]
    UnsizedType {
        /// The tensor.
        tensor: String,
        /// The ggml type id.
        id: u32,
        /// The names that the id goes by.
        name: &'static str,
    },
    /// The data of a tensor whose rows do not hold whole blocks.
    #[error(
        "tensor `{tensor}` of shape {shape:?} has rows that are no multiple of the {block} weights in a block of {name}",
        tensor = Shown(tensor)
    )]
    PartialBlock {
        /// The tensor.
        tensor: String,
        /// Its dimensions, fastest first.
        shape: Vec<u64>,
        /// The name of its type.
        name: &'static str,
        /// Weights in a block of that type.
        block: u64,
    },
    /// A model in several files of which not all are there, or do not belong together.
    #[error("this is part {part} of {count} of a model in several files: {problem}")]
    Split {
        /// Which part the file is that was opened, from 1 on.
        part: u64,
        /// How many parts there are.
        count: u64,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Something is wrong with one of the files of a model in several parts.
    #[error("in {}", path.display())]
    InPart {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// Metadata that is not there.
    #[error("the file has no metadata `{key}`", key = Shown(key))]
    MissingKey {
        /// The metadata key.
        key: String,
    },
    /// Metadata of another type than was asked for.
    #[error("metadata `{key}` is of type {found}, {wanted} is needed", key = Shown(key))]
    WrongType {
        /// The metadata key.
        key: String,
        /// The type asked for.
        wanted: &'static str,
        /// The type found.
        found: String,
    },
    /// A number that does not fit the type that was asked for.
    #[error("metadata `{key}` is {value}, which does not fit {wanted}", key = Shown(key))]
    OutOfRange {
        /// The metadata key.
        key: String,
        /// The type asked for.
        wanted: &'static str,
        /// The number found.
        value: String,
    },
}
