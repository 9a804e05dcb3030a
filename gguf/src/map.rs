//! The memory map, and with it all of this crate's `unsafe`.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;

/// A whole file, mapped read-only.
pub(crate) struct Map {
    bytes: Mmap,
    #[cfg(unix)]
    file: File,
}

impl Map {
    /// Maps all of `file`, which must not be empty.
    ///
    /// The file must stay as it is while the map lives. A file that shrinks makes reads beyond its
    /// new end raise `SIGBUS`, which ends the process; a file that is written to may change
    /// under the reader, past checks that were already made. Replacing a model by renaming a
    /// new file over it is safe: the map keeps the old one.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        // SAFETY: the map is private and read-only, and nothing in this process writes to the file.
        // That no other process truncates or overwrites it while it is mapped is the
        // contract of `Gguf::open`, as it is of every engine that maps its weights; no file
        // system offers a way to enforce it.
        let bytes = unsafe { Mmap::map(&file) }?;
        Ok(Self {
            bytes,
            #[cfg(unix)]
            file,
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Copies the bytes from `start` on, which must lie in the map, without bringing their pages
    /// into it.
    #[cfg(unix)]
    pub(crate) fn copy(&self, start: usize, into: &mut [u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.file.read_exact_at(into, start as u64)
    }

    /// Lets the kernel take back the pages of `range`, which must lie in the map.
    #[cfg(unix)]
    pub(crate) fn advise_dont_need(&self, range: Range<usize>) -> io::Result<()> {
        // SAFETY: `MADV_DONTNEED` discards what a process wrote to its pages. These are pages of a
        // read-only map of a file: nothing was written, and the next read brings the same
        // bytes from the file.
        unsafe {
            self.bytes.unchecked_advise_range(
                memmap2::UncheckedAdvice::DontNeed,
                range.start,
                range.len(),
            )
        }
    }

    /// Other systems take pages back as they see fit.
    #[cfg(not(unix))]
    pub(crate) fn advise_dont_need(&self, _range: Range<usize>) -> io::Result<()> {
        Ok(())
    }
}
