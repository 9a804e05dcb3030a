//! An open GGUF file: the header is read and checked once, the tensors' bytes are handed out where
//! they lie.
//!
//! The layout: magic, version, number of tensors, number of keys; each key with its type and value;
//! each tensor's name, shape, type and offset; padding up to the alignment; the tensors' data.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::cursor::Cursor;
use crate::map::{JoinedMap, Map};
use crate::parts;
use crate::q2_0;
use crate::storage::{Absent, Slice, Storage};
use crate::tensor::size;
use crate::value::{decode_scalar, skip_array};
use crate::{
    Array, DEFAULT_ALIGNMENT, Error, MAGIC, MAX_DIMS, Metadata, TensorInfo, Value, ValueType,
};

/// An open GGUF file. Can be shared between threads.
pub struct Gguf {
    storage: Arc<Storage>,
    version: u32,
    alignment: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    index: HashMap<String, usize>,
    /// Where each of its files lies in the storage.
    files: Vec<Range<usize>>,
}

impl Gguf {
    /// Maps the one file at `path` and reads its header; the file itself is returned beside it.
    pub(crate) fn open_one(path: &Path) -> Result<(Gguf, File), Error> {
        let failed = |source| Error::Open {
            path: path.to_owned(),
            source,
        };
        // Asked before opening: to open a pipe that nobody writes to would wait for ever.
        let kind = path.metadata().map_err(failed)?;
        if !kind.is_file() {
            return Err(Error::NotAFile {
                path: path.to_owned(),
                found: if kind.is_dir() {
                    "a directory"
                } else {
                    "a device or pipe"
                },
            });
        }
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() == 0 {
            return Err(Error::Empty);
        }
        let map = Map::new(file.try_clone().map_err(failed)?).map_err(failed)?;
        Ok((Self::parse(Storage::Map(map))?, file))
    }

    /// The tensors of `parts`, whose files `map` holds in the same order, under the metadata of the
    /// first.
    pub(crate) fn joined(parts: Vec<Gguf>, map: JoinedMap) -> Result<Gguf, Error> {
        let (mut tensors, mut index) = (Vec::new(), HashMap::new());
        for (part, start) in parts.iter().zip(map.starts()) {
            for tensor in &part.tensors {
                let offset = tensor.offset + start as u64;
                if index.insert(tensor.name.clone(), tensors.len()).is_some() {
                    return Err(Error::DuplicateTensor {
                        tensor: tensor.name.clone(),
                        offset,
                    });
                }
                tensors.push(TensorInfo {
                    offset,
                    ..tensor.clone()
                });
            }
        }
        let files = parts.iter().zip(map.starts());
        let files = files.map(|(part, start)| start..start + part.file_len());
        let files = files.collect();
        let mut parts = parts.into_iter();
        let Some(first) = parts.next() else {
            return Err(Error::Empty);
        };
        Ok(Gguf {
            storage: Arc::new(Storage::Joined(map)),
            tensors,
            index,
            files,
            ..first
        })
    }

    /// Reads a file that is part of the program.
    ///
    /// Tensors begin at multiples of [`Gguf::alignment`] from the start of `bytes`; that their
    /// addresses are aligned too, `bytes` itself must be.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn from_static(bytes: &'static [u8]) -> Result<Gguf, Error> {
        Self::parse(Storage::Static(bytes)).and_then(Self::whole)
    }

    /// Reads a file from memory.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Gguf, Error> {
        Self::parse(Storage::Owned(bytes)).and_then(Self::whole)
    }

    /// Refuses a part of a model in several files, where there is no path to find the others by.
    fn whole(self) -> Result<Gguf, Error> {
        match parts::place(&self.metadata)? {
            None => Ok(self),
            Some(place) => Err(place.without_path()),
        }
    }

    /// The version of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// What tensor data is aligned to, in bytes from the start of the file.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }

    /// The size of the file in bytes; of all of them where there are several.
    pub fn file_len(&self) -> usize {
        self.files.iter().map(Range::len).sum()
    }

    /// How many files it came in.
    pub fn parts(&self) -> usize {
        self.files.len()
    }

    /// The whole file. Of several, one behind another, each from the beginning of a page on, with
    /// zeros between: [`TensorInfo::offset`] counts from the first byte of the first.
    pub fn bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    /// The bytes of each of its files, in their order.
    pub fn files(&self) -> impl Iterator<Item = &[u8]> {
        let each = self.files.iter();
        each.map(|file| &self.storage.bytes()[file.clone()])
    }

    /// What the file says about itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Every tensor, in the order of the file.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index.get(name).map(|index| &self.tensors[*index])
    }

    /// The bytes of a tensor of this file.
    ///
    /// # Errors
    /// [`Error::UnsizedType`] and [`Error::PartialBlock`] where the size cannot be known.
    pub fn data(&self, tensor: &TensorInfo) -> Result<&[u8], Error> {
        let range = tensor.range()?;
        let bytes = self.storage.bytes();
        bytes.get(range.clone()).ok_or_else(|| Error::OutOfBounds {
            tensor: tensor.name.clone(),
            offset: range.start as u64,
            bytes: range.len() as u64,
            file_len: bytes.len() as u64,
        })
    }

    /// Checks that a mapped file is as long as it was when it was opened: to read what it has lost
    /// since would end the process. It is one question to the operating system for each file.
    ///
    /// # Errors
    /// [`Error::Shortened`].
    pub fn check_whole(&self) -> Result<(), Error> {
        match self.storage.missing() {
            0 => Ok(()),
            missing => Err(Error::Shortened { missing }),
        }
    }

    /// What the system says of the file, or of all of them, that tells it from others and from what
    /// it was before it was written to: its size and times, and on Unix where it is. Nothing where
    /// the bytes are in no file, or the system does not say.
    pub fn stamp(&self) -> Option<Vec<u8>> {
        self.storage.stamp()?.ok()
    }

    /// Says that the bytes of `range` (of the whole file) are not needed for now, so that the pages
    /// they touch need not count as this process's memory. Reading them again brings them back.
    /// Does nothing for a file that is not mapped.
    ///
    /// # Errors
    /// What the operating system said, and [`io::ErrorKind::InvalidInput`] for a range beyond the
    /// file's end.
    pub fn advise_dont_need(&self, range: Range<usize>) -> io::Result<()> {
        self.check(&range)?;
        match self.storage.as_ref() {
            Storage::Map(map) if !range.is_empty() => map.advise_dont_need(range),
            Storage::Joined(map) => map.advise_dont_need(range),
            _ => Ok(()),
        }
    }

    /// Brings the pages of a mapped file into its map, from its beginning on, as far as the system
    /// has them in memory already and as long as `goes_on` holds, so that whoever reads them meets
    /// no fault. It waits for no disk. Whether it came to the end.
    pub fn touch(&self, goes_on: impl Fn() -> bool) -> bool {
        let all = 0..self.bytes().len();
        self.storage.touch(all, Absent::Left, goes_on)
    }

    /// Reads what is not in memory of the bytes of `range` (of the whole file) from the disk, in
    /// their order and as long as `goes_on` holds, so that whoever reads them later need not wait.
    /// Does nothing for a file that is not mapped.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for a range beyond the file's end.
    pub fn read_ahead(&self, range: Range<usize>, goes_on: impl Fn() -> bool) -> io::Result<()> {
        self.check(&range)?;
        self.storage.touch(range, Absent::Read, goes_on);
        Ok(())
    }

    /// Copies the bytes from `start` (of the whole file) on. On Unix, those of a mapped file are
    /// read, so that they do not come to count as this process's memory; for a few of them that
    /// is also faster than to have their pages mapped.
    ///
    /// # Errors
    /// What the operating system said, and [`io::ErrorKind::InvalidInput`] for bytes beyond the
    /// file's end.
    pub fn copy(&self, start: usize, into: &mut [u8]) -> io::Result<()> {
        let range = start..start.saturating_add(into.len());
        self.check(&range)?;
        match self.storage.as_ref() {
            #[cfg(unix)]
            Storage::Map(map) => map.copy(start, into),
            #[cfg(unix)]
            Storage::Joined(map) => map.copy(start, into),
            storage => {
                into.copy_from_slice(&storage.bytes()[range]);
                Ok(())
            }
        }
    }

    fn check(&self, range: &Range<usize>) -> io::Result<()> {
        let len = self.bytes().len();
        if range.start > range.end || range.end > len {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("bytes {range:?} are not in a file of {len} bytes"),
            ));
        }
        Ok(())
    }

    fn parse(storage: Storage) -> Result<Gguf, Error> {
        let storage = Arc::new(storage);
        let bytes = storage.bytes();
        let mut cursor = Cursor::new(bytes, 0);
        let version = parse_version(&mut cursor)?;
        // Name length, dimensions, type and offset; key length, value type and one byte of value.
        let tensor_count = cursor.count(8 + 4 + 4 + 8, "tensor count")?;
        let key_count = cursor.count(8 + 4 + 1, "metadata key count")?;
        let metadata = parse_metadata(&mut cursor, &storage, key_count)?;
        let alignment = parse_alignment(&metadata)?;
        let mut tensors = Vec::new();
        let mut index = HashMap::new();
        let mut offset_fields = Vec::new();
        for number in 0..tensor_count {
            let start = cursor.position() as u64;
            let (tensor, offset_field) = parse_tensor(&mut cursor, number)?;
            if index.insert(tensor.name.clone(), number).is_some() {
                return Err(Error::DuplicateTensor {
                    tensor: tensor.name,
                    offset: start,
                });
            }
            offset_fields.push(offset_field);
            tensors.push(tensor);
        }
        let data_start = (cursor.position() as u64).next_multiple_of(alignment.into());
        let data_len = (bytes.len() as u64).saturating_sub(data_start);
        q2_0::settle(&mut tensors, data_len, alignment)?;
        for (tensor, field) in tensors.iter_mut().zip(offset_fields) {
            place(tensor, field, data_start, alignment, bytes.len() as u64)?;
        }
        check_overlap(&tensors)?;
        Ok(Gguf {
            files: Vec::from([Range {
                start: 0,
                end: bytes.len(),
            }]),
            version,
            alignment,
            metadata,
            tensors,
            index,
            storage,
        })
    }
}

impl fmt::Debug for Gguf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gguf")
            .field("version", &self.version)
            .field("file_len", &self.file_len())
            .field("metadata", &self.metadata.len())
            .field("tensors", &self.tensors.len())
            .finish()
    }
}

fn parse_version(cursor: &mut Cursor<'_>) -> Result<u32, Error> {
    if cursor.remaining() == 0 {
        return Err(Error::Empty);
    }
    let magic = cursor.array("magic")?;
    if magic != MAGIC {
        return Err(Error::BadMagic {
            found: magic,
            hint: magic_hint(&magic),
        });
    }
    let version = cursor.u32("version")?;
    match version {
        2 | 3 => Ok(version),
        _ if (1..=3).contains(&version.swap_bytes()) => Err(Error::BigEndian {
            version: version.swap_bytes(),
        }),
        _ => Err(Error::UnsupportedVersion { version }),
    }
}

/// What a file that begins otherwise usually is.
fn magic_hint(magic: &[u8; 4]) -> &'static str {
    match magic {
        b"vers" => "; this looks like a Git LFS pointer, fetch the file itself (git lfs pull)",
        b"<!DO" | b"<htm" | b"<HTM" => "; this looks like a web page, the download went wrong",
        b"tjgg" | b"fmgg" | b"lmgg" => "; this is an older ggml format, convert the model again",
        b"PK\x03\x04" => "; this is a zip archive or a PyTorch checkpoint, convert it to GGUF",
        _ => "",
    }
}

fn parse_metadata(
    cursor: &mut Cursor<'_>,
    storage: &Arc<Storage>,
    count: usize,
) -> Result<Metadata, Error> {
    let mut metadata = Metadata::default();
    for number in 0..count {
        let start = cursor.position() as u64;
        let key = cursor.string(format_args!("metadata key {number}"))?;
        if metadata.contains(key) {
            return Err(Error::DuplicateKey {
                key: key.to_owned(),
                offset: start,
            });
        }
        let offset = cursor.position() as u64;
        let id = cursor.u32(format_args!("value type of metadata `{key}`"))?;
        let value = match ValueType::from_id(id) {
            Some(ValueType::Array) => {
                let (element, len, start) = skip_array(cursor, key, 0)?;
                let slice = Slice {
                    storage: storage.clone(),
                    start,
                    len: cursor.position() - start,
                };
                Value::Array(Array::new(element, len, slice))
            }
            Some(scalar) => decode_scalar(cursor, scalar, key)?,
            None => {
                return Err(Error::UnknownValueType {
                    key: key.to_owned(),
                    offset,
                    id,
                });
            }
        };
        metadata.set(key.to_owned(), value);
    }
    Ok(metadata)
}

/// Whether data can be aligned to this many bytes: the format wants a multiple of 8, ggml a power
/// of two.
pub(crate) fn is_alignment(value: u32) -> bool {
    value >= 8 && value.is_power_of_two()
}

fn parse_alignment(metadata: &Metadata) -> Result<u32, Error> {
    match metadata.opt_u32("general.alignment")? {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(value) if is_alignment(value) => Ok(value),
        Some(value) => Err(Error::BadAlignment { value }),
    }
}

/// Reads one tensor's description. Its offset still counts from the start of the data section;
/// where that field lies is returned beside it.
fn parse_tensor(cursor: &mut Cursor<'_>, number: usize) -> Result<(TensorInfo, u64), Error> {
    let name = cursor.string(format_args!("name of tensor {number}"))?;
    let offset = cursor.position() as u64;
    let dims = cursor.u32(format_args!("number of dimensions of tensor `{name}`"))?;
    if dims as usize > MAX_DIMS {
        return Err(Error::TooManyDims {
            tensor: name.to_owned(),
            offset,
            dims,
        });
    }
    let offset = cursor.position() as u64;
    let shape = (0..dims)
        .map(|axis| cursor.u64(format_args!("dimension {axis} of tensor `{name}`")))
        .collect::<Result<Vec<u64>, Error>>()?;
    let elements = shape
        .iter()
        .try_fold(1u64, |elements, dim| elements.checked_mul(*dim))
        .filter(|elements| *elements > 0);
    let Some(elements) = elements else {
        return Err(Error::BadShape {
            tensor: name.to_owned(),
            offset,
            shape,
        });
    };
    let type_id = cursor.u32(format_args!("type of tensor `{name}`"))?;
    let field = cursor.position() as u64;
    let data_offset = cursor.u64(format_args!("data offset of tensor `{name}`"))?;
    let tensor = TensorInfo {
        name: name.to_owned(),
        bytes: size(&shape, elements, type_id),
        shape,
        type_id,
        offset: data_offset,
    };
    Ok((tensor, field))
}

/// Turns a tensor's offset into one from the start of the file, and checks that its data lies in
/// the file.
fn place(
    tensor: &mut TensorInfo,
    field: u64,
    data_start: u64,
    alignment: u32,
    file_len: u64,
) -> Result<(), Error> {
    let data_offset = tensor.offset;
    if !data_offset.is_multiple_of(alignment.into()) {
        return Err(Error::Misaligned {
            tensor: tensor.name.clone(),
            offset: field,
            data_offset,
            alignment,
        });
    }
    let bytes = tensor.bytes.unwrap_or(0);
    tensor.offset = data_start.saturating_add(data_offset);
    match tensor.offset.checked_add(bytes) {
        Some(end) if end <= file_len => Ok(()),
        _ => Err(Error::OutOfBounds {
            tensor: tensor.name.clone(),
            offset: tensor.offset,
            bytes,
            file_len,
        }),
    }
}

fn check_overlap(tensors: &[TensorInfo]) -> Result<(), Error> {
    let mut order: Vec<&TensorInfo> = tensors.iter().collect();
    order.sort_by_key(|tensor| tensor.offset);
    for pair in order.windows(2) {
        // A tensor of unknown size takes at least one byte.
        let end = pair[0].offset + pair[0].bytes.unwrap_or(1);
        if end > pair[1].offset {
            return Err(Error::Overlap {
                first: pair[0].name.clone(),
                second: pair[1].name.clone(),
                offset: pair[1].offset,
            });
        }
    }
    Ok(())
}
