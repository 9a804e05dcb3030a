//! A SHA-256, and how it is made and written: 64 hexadecimal digits.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// Bytes of a file that are hashed at a time, and after which a caller may stop it.
const BLOCK: usize = 1 << 18;

/// A SHA-256 digest; prints, reads and compares as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256Hex([u8; 32]);

/// Text that is not a SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA256 has 64 hexadecimal digits; found {0:?}")]
pub struct Sha256HexError(String);

impl Sha256Hex {
    /// The digest of bytes.
    pub fn of(bytes: &[u8]) -> Sha256Hex {
        Sha256Hex(Sha256::digest(bytes).into())
    }

    /// Its bytes, for those who write it otherwise.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Sha256Hex {
    type Err = Sha256HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || Sha256HexError(text.chars().take(80).collect());
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect();
        if digits.len() != 64 {
            return Err(wrong());
        }
        Ok(Self(bytes.try_into().map_err(|_| wrong())?))
    }
}

impl fmt::Display for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Sha256Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Sha256Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes what is written to it.
#[derive(Clone, Debug, Default)]
pub struct Hasher {
    sha256: Sha256,
    len: u64,
}

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// Bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there were no bytes yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The digest of the bytes so far.
    pub fn digest(&self) -> Sha256Hex {
        Sha256Hex(self.sha256.clone().finalize().into())
    }

    /// Adds the rest of a file, asking `stop` after each block of it.
    ///
    /// # Errors
    /// It cannot be read, or `stop` said so ([`io::ErrorKind::Interrupted`]).
    pub fn read(&mut self, mut file: impl Read, stop: impl Fn() -> bool) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        loop {
            if stop() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            match file.read(&mut block) {
                Ok(0) => return Ok(()),
                Ok(read) => self.update(&block[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The SHA-256 of a file, asking `stop` after each block of it.
///
/// # Errors
/// As [`Hasher::read`].
pub fn hash_file(path: &Path, stop: impl Fn() -> bool) -> io::Result<Sha256Hex> {
    let mut hasher = Hasher::default();
    hasher.read(crate::input::open(path)?, stop)?;
    Ok(hasher.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn bytes_and_files_have_the_published_digest() {
        assert_eq!(Sha256Hex::of(b"abc").to_string(), OF_ABC);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("abc");
        std::fs::write(&path, b"abc").expect("written");
        assert_eq!(
            hash_file(&path, || false).expect("read").to_string(),
            OF_ABC
        );
        let stopped = hash_file(&path, || true).expect_err("stopped");
        assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
        let mut hasher = Hasher::default();
        assert!(hasher.is_empty());
        hasher.write_all(b"ab").expect("hashed");
        hasher.update(b"c");
        assert_eq!(
            (hasher.len(), hasher.digest().to_string()),
            (3, OF_ABC.to_owned())
        );
    }

    #[test]
    fn only_64_hex_digits_are_a_sha256_and_case_does_not_matter() {
        let upper = "AB".repeat(32);
        let sha: Sha256Hex = upper.parse().expect("64 digits");
        assert_eq!(sha.to_string(), upper.to_lowercase());
        let json = serde_json::to_string(&sha).expect("JSON");
        assert_eq!(serde_json::from_str::<Sha256Hex>(&json).expect("read"), sha);
        for wrong in [
            "",
            "ab",
            &"ab".repeat(31),
            &"ab".repeat(33),
            &"a".repeat(63),
            &"xy".repeat(32),
            &"é".repeat(32),
        ] {
            assert!(wrong.parse::<Sha256Hex>().is_err(), "{wrong:?}");
        }
    }
}
