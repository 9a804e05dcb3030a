//! A screen in a file, in the parts that a device makes of it.
//!
//! All numbers are little-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `BNSCREEN` |
//! | 4 | [`VERSION`] |
//! | 32 | BLAKE3 of what the screen depends on: the form, the head, and the model's file |
//! | 8, 4 each | for each part: its bytes, and their CRC-32 |
//! | 32 | BLAKE3 of all bytes before |
//! | | each part, from a multiple of [`ALIGNMENT`] on |

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bitnet_files::AtomicFile;
use bitnet_gguf::Map;
use bitnet_kernels::{ScreenForm, ScreenParts};

use super::problem::{StoreProblem, damaged};

/// Version of the form of files. It is part of their names, too.
pub(super) const VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"BNSCREEN";
pub(super) const HASH: usize = blake3::OUT_LEN;
/// Bytes before what is said of each part.
const FIXED: usize = MAGIC.len() + 4 + HASH;
/// Bytes that say what a part is.
const ENTRY: usize = 8 + 4;
/// Where parts begin.
const ALIGNMENT: usize = 64;

/// A file of a screen.
pub(super) struct ScreenFile {
    map: Map,
    parts: Vec<Part>,
    /// Whether a part was not as it was written.
    damaged: AtomicBool,
}

struct Part {
    start: usize,
    len: usize,
    crc: u32,
    /// Whether it was found to be as it was written.
    checked: AtomicBool,
}

/// The bytes before the parts.
fn header(of: &[u8; HASH], parts: impl Iterator<Item = (usize, u32)>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(of);
    for (len, crc) in parts {
        bytes.extend((len as u64).to_le_bytes());
        bytes.extend(crc.to_le_bytes());
    }
    let hash = blake3::hash(&bytes);
    bytes.extend(hash.as_bytes());
    bytes
}

/// Where each part begins, and where the last ends.
fn places(form: &ScreenForm) -> (Vec<usize>, usize) {
    let mut end = FIXED + ENTRY * form.parts.len() + HASH;
    let place = |len: &usize| {
        let start = end.next_multiple_of(ALIGNMENT);
        end = start + len;
        start
    };
    (form.parts.iter().map(place).collect(), end)
}

/// Bytes of a whole file.
pub(super) fn file_len(form: &ScreenForm) -> usize {
    places(form).1
}

/// Writes a file, whole or not at all.
pub(super) fn write(
    path: &Path,
    of: &[u8; HASH],
    form: &ScreenForm,
    parts: &dyn ScreenParts,
) -> io::Result<()> {
    let part = |index| {
        let part = parts.part(index);
        part.ok_or_else(|| io::Error::other("the screen is not as it was made"))
    };
    let mut about = Vec::new();
    for (index, len) in form.parts.iter().enumerate() {
        about.push((*len, crc32fast::hash(part(index)?)));
    }
    let mut file = AtomicFile::create(path)?;
    let header = header(of, about.into_iter());
    file.write_all(&header)?;
    let mut end = header.len();
    for (index, start) in places(form).0.into_iter().enumerate() {
        let part = part(index)?;
        file.write_all(&[0; ALIGNMENT][..start - end])?;
        file.write_all(part)?;
        end = start + part.len();
    }
    file.commit()
}

impl ScreenFile {
    /// Opens the file at `path`, if there is one, and checks its beginning.
    pub(super) fn find(
        path: &Path,
        of: &[u8; HASH],
        form: &ScreenForm,
    ) -> Result<Option<ScreenFile>, StoreProblem> {
        let io = |source| StoreProblem::Io {
            path: PathBuf::from(path),
            source,
        };
        let mut file = match bitnet_files::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(io)?,
        };
        let (starts, len) = places(form);
        if file.metadata().map_err(io)?.len() != len as u64 {
            return Err(damaged(path, "it has not the length of such a screen"));
        }
        let mut bytes = vec![0; FIXED + ENTRY * form.parts.len() + HASH];
        file.read_exact(&mut bytes).map_err(io)?;
        let about = bytes[FIXED..bytes.len() - HASH].chunks_exact(ENTRY);
        let crc = |about: &[u8]| about.last_chunk().map_or(0, |crc| u32::from_le_bytes(*crc));
        let crcs: Vec<u32> = about.map(crc).collect();
        let lens = form.parts.iter().copied();
        if header(of, lens.clone().zip(crcs.iter().copied())) != bytes {
            return Err(damaged(path, "its beginning is not that of such a screen"));
        }
        let parts = starts.into_iter().zip(lens).zip(crcs);
        let parts = parts.map(|((start, len), crc)| Part {
            start,
            len,
            crc,
            checked: AtomicBool::new(false),
        });
        Ok(Some(ScreenFile {
            map: Map::new(file).map_err(io)?,
            parts: parts.collect(),
            damaged: AtomicBool::new(false),
        }))
    }

    /// Gives no part any more if the file was shortened: to read what it has lost would end the
    /// process.
    pub(super) fn check_length(&self) {
        if self.map.missing() > 0 {
            self.damaged.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    fn bytes(&self, part: &Part) -> Option<&[u8]> {
        let bytes = &self.map.bytes()[part.start..part.start + part.len];
        (!self.is_damaged()).then_some(bytes)
    }

    /// Whether bytes are those of a part. Where they are not, no part is given any more.
    fn holds(&self, part: &Part, bytes: &[u8]) -> bool {
        let holds = crc32fast::hash(bytes) == part.crc;
        if !holds {
            self.damaged.store(true, Ordering::Relaxed);
        }
        holds
    }
}

impl ScreenParts for ScreenFile {
    fn part(&self, index: usize) -> Option<&[u8]> {
        let part = self.parts.get(index)?;
        let bytes = self.bytes(part)?;
        if !part.checked.load(Ordering::Relaxed) {
            if !self.holds(part, bytes) {
                return None;
            }
            part.checked.store(true, Ordering::Relaxed);
        }
        Some(bytes)
    }

    /// What was copied is checked, whatever the file was before.
    fn copy(&self, index: usize, into: &mut [u8]) -> bool {
        let part = self.parts.get(index);
        let part = part.and_then(|part| Some((part, self.bytes(part)?)));
        let Some((part, bytes)) = part.filter(|(_, bytes)| bytes.len() == into.len()) else {
            return false;
        };
        into.copy_from_slice(bytes);
        self.holds(part, into)
    }
}
