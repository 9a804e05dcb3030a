//! What every receipt has: a time, and a file that is whole.

use std::io;
use std::path::Path;

use serde::Serialize;

/// Now, in RFC 3339, as receipts have it.
pub fn timestamp() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

/// Writes JSON beside `path` and renames it into place.
///
/// # Errors
/// When the folder cannot be made or the file not written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    bitnet_files::replace(path, text.as_bytes())
}
