//! The memory maps, and with them all of this crate's `unsafe`.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::Mmap;

/// Bytes of a large page, as x86-64 and AArch64 have them beside pages of 4 KiB.
#[cfg(unix)]
const LARGE_PAGE: usize = 2 << 20;

/// Whether the page at `at` can be read without waiting for the disk.
#[cfg(target_os = "linux")]
fn is_in_memory(file: &File, at: usize) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    let mut byte = [0];
    let into = &mut [io::IoSliceMut::new(&mut byte)];
    preadv2(file, into, at as u64, ReadWriteFlags::NOWAIT).is_ok_and(|read| read > 0)
}

/// A whole file, mapped read-only.
pub struct Map {
    bytes: Mmap,
    file: File,
}

impl std::fmt::Debug for Map {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.bytes.len();
        f.debug_struct("Map").field("bytes", &bytes).finish()
    }
}

impl Map {
    /// Maps all of `file`, which must not be empty.
    ///
    /// Linux is asked for large pages: what is read from the disk then comes two MiB at a time, and
    /// stays in memory so for whoever maps it later. One fault maps as much, and reading asks for
    /// few translations.
    ///
    /// The file must stay as it is while the map lives. A file that shrinks makes reads beyond its
    /// new end raise `SIGBUS`, which ends the process ([`Map::missing`] tells before); a file that
    /// is written to may change under the reader, past checks that were already made. Replacing a
    /// model by renaming a new file over it is safe: the map keeps the old one.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn new(file: File) -> io::Result<Self> {
        // SAFETY: the map is private and read-only, and nothing in this process writes to the file.
        // That no other process truncates or overwrites it while it is mapped is the
        // contract of `Gguf::open`, as it is of every engine that maps its weights; no file
        // system offers a way to enforce it.
        let bytes = unsafe { Mmap::map(&file) }?;
        // Only advice: a system without large pages for files gives small ones.
        #[cfg(target_os = "linux")]
        let _ = bytes.advise(memmap2::Advice::HugePage);
        Ok(Self { bytes, file })
    }

    /// All of it, from the beginning of a page on.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn stamp(&self) -> io::Result<Vec<u8>> {
        stamp(&self.file)
    }

    /// By how much the file is shorter than it was.
    #[cfg(unix)]
    pub fn missing(&self) -> usize {
        missing(&self.file, self.bytes.len())
    }

    /// Other systems do not let a mapped file be shortened.
    #[cfg(not(unix))]
    pub fn missing(&self) -> usize {
        0
    }

    /// Whether the page at `at`, which must lie in the map, can be read without waiting for the
    /// disk.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_in_memory(&self, at: usize) -> bool {
        is_in_memory(&self.file, at)
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

/// What the system says of a file that tells it from others, and from itself before it was written
/// to.
#[cfg(unix)]
fn stamp(file: &File) -> io::Result<Vec<u8>> {
    use std::os::unix::fs::MetadataExt;
    let about = file.metadata()?;
    let times = [
        about.mtime(),
        about.mtime_nsec(),
        about.ctime(),
        about.ctime_nsec(),
    ];
    let numbers = [about.dev(), about.ino(), about.size()];
    let numbers = numbers.into_iter().chain(times.map(i64::cast_unsigned));
    Ok(numbers.flat_map(u64::to_le_bytes).collect())
}

#[cfg(not(unix))]
fn stamp(file: &File) -> io::Result<Vec<u8>> {
    let about = file.metadata()?;
    let since = about.modified()?.duration_since(std::time::UNIX_EPOCH);
    let since = since.map_or(0, |since| since.as_nanos());
    Ok([u128::from(about.len()), since]
        .into_iter()
        .flat_map(u128::to_le_bytes)
        .collect())
}

/// By how much a file is shorter than `len`. One that cannot be asked is as it was.
#[cfg(unix)]
fn missing(file: &File, len: usize) -> usize {
    let now = file.metadata().map_or(u64::MAX, |there| there.len());
    len.saturating_sub(usize::try_from(now).unwrap_or(usize::MAX))
}

/// Several files, mapped read-only one behind another, each at a large page of its own: one region
/// of memory, as if they were one file. Nothing is copied.
#[cfg(unix)]
pub(crate) struct JoinedMap {
    /// What the system gave, and how much.
    reserved: (*mut core::ffi::c_void, usize),
    /// The first large page of it.
    start: *mut core::ffi::c_void,
    len: usize,
    page: usize,
    /// The files in the order of the region.
    files: Vec<Joined>,
}

/// One file of a region.
#[cfg(unix)]
struct Joined {
    /// Where it begins in the region.
    start: usize,
    len: usize,
    file: File,
}

// SAFETY: the region is read-only and belongs to this value alone; reading it from any thread is
// what `&[u8]` is for.
#[cfg(unix)]
unsafe impl Send for JoinedMap {}
// SAFETY: as above; no method changes anything.
#[cfg(unix)]
unsafe impl Sync for JoinedMap {}

#[cfg(unix)]
impl JoinedMap {
    /// Maps all of each of `files`, of which there is at least one and none is empty. The contract
    /// is that of [`Map::new`], for each of them.
    pub(crate) fn new(files: Vec<File>) -> io::Result<Self> {
        use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};
        let page = rustix::param::page_size();
        let place = LARGE_PAGE.max(page);
        let (mut placed, mut len) = (Vec::new(), 0_usize);
        let too_large = || io::Error::new(io::ErrorKind::OutOfMemory, "larger than memory can be");
        for file in files {
            let size = usize::try_from(file.metadata()?.len()).map_err(|_| too_large())?;
            let at = len.checked_next_multiple_of(place).ok_or_else(too_large)?;
            len = at.checked_add(size).ok_or_else(too_large)?;
            placed.push((at, size, file));
        }
        let reserve = MapFlags::PRIVATE | MapFlags::NORESERVE;
        let all = len.checked_add(place).ok_or_else(too_large)?;
        // SAFETY: a new region, at an address that the system chooses. Between files it reads as
        // zeros.
        let reserved =
            unsafe { mmap_anonymous(std::ptr::null_mut(), all, ProtFlags::READ, reserve) }?;
        let aside = reserved.addr().next_multiple_of(place) - reserved.addr();
        // From here on, dropping it gives the region back.
        let mut joined = Self {
            reserved: (reserved, all),
            // SAFETY: `aside` is less than `place`, by which the region is longer than the files.
            start: unsafe { reserved.byte_add(aside) },
            len,
            page,
            files: Vec::new(),
        };
        for (at, size, file) in placed {
            let fixed = MapFlags::PRIVATE | MapFlags::FIXED;
            // SAFETY: `at .. at + size` lies in the region above.
            let into = unsafe { joined.start.byte_add(at) };
            // SAFETY: nobody reads the region yet, so replacing its pages harms no one; the map is
            // private and read-only.
            unsafe { mmap(into, size, ProtFlags::READ, fixed, &file, 0) }?;
            #[cfg(target_os = "linux")]
            // SAFETY: advice alone, of the pages that were just mapped: as in `Map::new`.
            let _ = unsafe { rustix::mm::madvise(into, size, rustix::mm::Advice::LinuxHugepage) };
            joined.files.push(Joined {
                start: at,
                len: size,
                file,
            });
        }
        Ok(joined)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: every page from the first file's first to the last file's last byte is mapped and
        // readable (what lies between files reads as zeros) until `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len) }
    }

    /// Where each file begins.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        self.files.iter().map(|file| file.start)
    }

    /// As [`Map::is_in_memory`]; what lies between files always is.
    #[cfg(target_os = "linux")]
    pub(crate) fn is_in_memory(&self, at: usize) -> bool {
        let (joined, within) = self.at(at);
        within >= joined.len || is_in_memory(&joined.file, within)
    }

    /// The file that a place of the region belongs to, and how far it is from its beginning.
    fn at(&self, place: usize) -> (&Joined, usize) {
        let behind = self.files.partition_point(|file| file.start <= place);
        let joined = &self.files[behind - 1];
        (joined, place - joined.start)
    }

    /// As [`Map::stamp`], of all files.
    pub(crate) fn stamp(&self) -> io::Result<Vec<u8>> {
        let stamps: io::Result<Vec<_>> = self.files.iter().map(|it| stamp(&it.file)).collect();
        Ok(stamps?.concat())
    }

    /// As [`Map::missing`], of all files.
    pub(crate) fn missing(&self) -> usize {
        let files = self.files.iter();
        files.map(|joined| missing(&joined.file, joined.len)).sum()
    }

    /// As [`Map::copy`]; the bytes must lie in one file.
    pub(crate) fn copy(&self, start: usize, into: &mut [u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let (joined, within) = self.at(start);
        joined.file.read_exact_at(into, within as u64)
    }

    /// As [`Map::advise_dont_need`].
    pub(crate) fn advise_dont_need(&self, range: Range<usize>) -> io::Result<()> {
        // Whole pages only: a part of one may hold something else.
        let first = range.start.next_multiple_of(self.page);
        let end = range.end / self.page * self.page;
        if first >= end {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        // SAFETY: as in `Map::advise_dont_need`: nothing was written to these pages, and the next
        // read brings the same bytes from the file.
        unsafe {
            let pages = self.start.byte_add(first);
            rustix::mm::madvise(pages, end - first, rustix::mm::Advice::LinuxDontNeed)?;
        }
        Ok(())
    }
}

#[cfg(unix)]
impl Drop for JoinedMap {
    fn drop(&mut self) {
        // SAFETY: the region is ours, and no reference into it outlives `self`. A failure leaves
        // it mapped, which harms no one.
        let _ = unsafe { rustix::mm::munmap(self.reserved.0, self.reserved.1) };
    }
}

/// Where files cannot be mapped side by side, they are read into memory.
#[cfg(not(unix))]
pub(crate) struct JoinedMap {
    bytes: Vec<u8>,
    starts: Vec<usize>,
    files: Vec<File>,
}

#[cfg(not(unix))]
impl JoinedMap {
    /// Reads all of each of `files`.
    pub(crate) fn new(files: Vec<File>) -> io::Result<Self> {
        use std::io::Read;
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for mut file in &files {
            bytes.resize(bytes.len().next_multiple_of(4096), 0);
            starts.push(bytes.len());
            file.read_to_end(&mut bytes)?;
        }
        Ok(Self {
            bytes,
            starts,
            files,
        })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each file begins.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> + '_ {
        self.starts.iter().copied()
    }

    /// As [`Map::stamp`], of all files.
    pub(crate) fn stamp(&self) -> io::Result<Vec<u8>> {
        let stamps: io::Result<Vec<_>> = self.files.iter().map(stamp).collect();
        Ok(stamps?.concat())
    }

    /// What was read stays.
    pub(crate) fn missing(&self) -> usize {
        0
    }

    pub(crate) fn advise_dont_need(&self, _range: Range<usize>) -> io::Result<()> {
        Ok(())
    }
}
