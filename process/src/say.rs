//! Lines for people.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something that was to be said could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes a line to standard output. Where that fails, [`said_all`] tells.
#[macro_export]
macro_rules! say {
    ($($line:tt)*) => { $crate::say_line(::std::format_args!($($line)*)) };
}

/// Writes a line to standard error, where anybody reads it.
#[macro_export]
macro_rules! note {
    ($($line:tt)*) => { $crate::note_line(::std::format_args!($($line)*)) };
}

/// What [`say!`] does.
///
/// [`say!`]: crate::say
pub fn say_line(line: Arguments<'_>) {
    let written = writeln!(io::stdout(), "{line}");
    if written.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// What [`note!`] does.
///
/// [`note!`]: crate::note
pub fn note_line(line: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether all that was said reached standard output, or was of interest to nobody.
pub fn said_all() -> bool {
    let flushed = io::stdout().flush();
    let gone = |error: io::Error| error.kind() == ErrorKind::BrokenPipe;
    flushed.map_or_else(gone, |()| true) && !LOST.load(Ordering::Relaxed)
}
