//! Zeroed memory straight from the system.

use std::io;
use std::marker::PhantomData;
use std::ops::Range;

use memmap2::MmapMut;

/// A large slice of zeros whose parts different threads may write at the same time. It takes memory
/// where it was touched, in large pages where the system has them, so that reading it through asks
/// for few translations.
pub(crate) struct Pages<T> {
    map: MmapMut,
    len: usize,
    of: PhantomData<T>,
}

/// Types for which any bytes are a value, and whose alignment a page has.
///
/// # Safety
/// - Any bytes are a value of the type, it has no padding, and it is aligned to at most 4096 bytes.
pub(crate) unsafe trait Plain: Copy + Send + Sync {}

// SAFETY: integers have no padding, any bytes are a value, and they are aligned to their size.
unsafe impl Plain for i8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}

impl<T: Plain> Pages<T> {
    pub(crate) fn new(len: usize) -> io::Result<Pages<T>> {
        let map = MmapMut::map_anon((len * size_of::<T>()).max(1))?;
        // Only advice: a system without large pages gives small ones.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Pages {
            map,
            len,
            of: PhantomData,
        })
    }

    fn start(&self) -> *const T {
        self.map.as_ptr().cast()
    }

    /// # Safety
    /// - Nobody writes any of these values while the result lives; the phase of their writer
    ///   is over.
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &[T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: the map is that long, aligned, and any bytes are a `T`; the caller keeps writers
        // away.
        unsafe { std::slice::from_raw_parts(self.start().add(range.start), range.len()) }
    }

    /// # Safety
    /// - Nobody else reads or writes any of these values while the result lives.
    #[expect(
        clippy::mut_from_ref,
        reason = "the point of the type; the caller keeps others away"
    )]
    pub(crate) unsafe fn write(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: as above, and the map is private and writable; nothing ever makes a reference to
        // all of it.
        unsafe {
            std::slice::from_raw_parts_mut(self.start().cast_mut().add(range.start), range.len())
        }
    }
}

/// The bytes of values.
pub(crate) fn bytes_of<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: a plain type has no padding, so that all bytes have values.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The bytes of values, to be written.
pub(crate) fn bytes_of_mut<T: Plain>(values: &mut [T]) -> &mut [u8] {
    let bytes = size_of_val(values);
    // SAFETY: as above, and any bytes are values of a plain type.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), bytes) }
}

/// The values that bytes are, if they are aligned for them and end with the last.
pub(crate) fn values_of<T: Plain>(bytes: &[u8]) -> Option<&[T]> {
    // SAFETY: any bytes are values of a plain type.
    let (before, values, behind) = unsafe { bytes.align_to() };
    (before.is_empty() && behind.is_empty()).then_some(values)
}
