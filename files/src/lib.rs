//! What every part of this project needs of files: a way to open them that never waits, their
//! SHA-256, and a way to write them so that nobody ever sees half of one. It knows nothing of what
//! the files hold.

mod atomic;
mod input;
mod sha256;

pub use atomic::{AtomicFile, replace, same_place};
pub use input::{open, read, read_to_string};
pub use sha256::{Hasher, Sha256Hex, Sha256HexError, hash_file};
