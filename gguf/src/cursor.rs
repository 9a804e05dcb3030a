//! Reads little-endian fields off a byte slice, one after another, never beyond its end.
//!
//! Each read names its field, lazily: the name is only spelled out in an error.

use std::fmt::Display;

use crate::Error;

/// A position in the bytes of a file.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at byte `position`, which must not lie beyond the end.
    pub(crate) fn new(bytes: &'a [u8], position: usize) -> Self {
        debug_assert!(position <= bytes.len());
        Self { bytes, position }
    }

    pub(crate) fn position(&self) -> usize {
        self.position
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, len: u64, field: impl Display) -> Result<&'a [u8], Error> {
        let rest = &self.bytes[self.position..];
        match usize::try_from(len).ok().and_then(|len| rest.get(..len)) {
            Some(taken) => {
                self.position += taken.len();
                Ok(taken)
            }
            None => Err(Error::Truncated {
                field: field.to_string(),
                offset: self.position as u64,
                needed: len,
                available: rest.len() as u64,
            }),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self, field: impl Display) -> Result<[u8; N], Error> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64, field)?);
        Ok(array)
    }

    pub(crate) fn u32(&mut self, field: impl Display) -> Result<u32, Error> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: impl Display) -> Result<u64, Error> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `least` bytes each; an error when they cannot all
    /// follow.
    pub(crate) fn count(&mut self, least: usize, field: impl Display) -> Result<usize, Error> {
        let offset = self.position as u64;
        let count = self.u64(&field)?;
        let available = self.remaining();
        match usize::try_from(count) {
            Ok(fits) if fits <= available / least => Ok(fits),
            _ => Err(Error::CountTooLarge {
                field: field.to_string(),
                offset,
                count,
                available: available as u64,
            }),
        }
    }

    /// A string as GGUF writes it: its length as u64, then its bytes. Not checked to be UTF-8.
    pub(crate) fn prefixed(&mut self, field: impl Display) -> Result<&'a [u8], Error> {
        let len = self.u64(format_args!("length of {field}"))?;
        self.take(len, field)
    }

    /// A string as GGUF writes it, checked to be UTF-8.
    pub(crate) fn string(&mut self, field: impl Display) -> Result<&'a str, Error> {
        let bytes = self.prefixed(&field)?;
        std::str::from_utf8(bytes).map_err(|error| Error::NotUtf8 {
            field: field.to_string(),
            offset: (self.position - bytes.len() + error.valid_up_to()) as u64,
        })
    }
}
