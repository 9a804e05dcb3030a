//! SHA-256 of bytes and files as receipts have it: text, in lower-case hexadecimal.

use std::io;
use std::path::Path;

use bitnet_files::{Sha256Hex, hash_file};

/// The digest of bytes.
pub fn of_bytes(bytes: &[u8]) -> String {
    Sha256Hex::of(bytes).to_string()
}

/// The digest of a file, read in pieces.
///
/// # Errors
/// When the file cannot be read.
pub fn of_file(path: &Path) -> io::Result<String> {
    Ok(hash_file(path, || false)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn bytes_and_files_have_the_published_digest() {
        assert_eq!(of_bytes(b"abc"), OF_ABC);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, b"abc").unwrap();
        assert_eq!(of_file(&path).unwrap(), OF_ABC);
    }
}
