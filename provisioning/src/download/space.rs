//! Free disk space, asked before a download starts and again if it has to start over.

use std::io;
use std::path::Path;

/// Left free beyond what the download itself still needs: 50 MB.
pub(super) const HEADROOM: u64 = 50 * 1_000_000;

/// Whether `remaining` more bytes fit in `folder`; if not, the bytes available there.
pub(super) fn lacks(folder: &Path, remaining: u64) -> io::Result<Option<u64>> {
    let available = fs4::available_space(folder)?;
    Ok((available < remaining.saturating_add(HEADROOM)).then_some(available))
}
