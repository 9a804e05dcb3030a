//! Memory that the threads of a pool fill together.

use std::alloc::{self, Layout};
use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::Arc;

use super::pages::Plain;

/// What slices are aligned to, in bytes: a line of the caches and the widest register, so that no
/// load of one touches two lines.
const ALIGNMENT: usize = 64;

/// A slice whose parts different threads may write at the same time.
#[derive(Default)]
pub(crate) struct SharedSlice<T> {
    /// The slice, and before and behind it what aligns it.
    allocation: Box<[UnsafeCell<T>]>,
    first: usize,
    len: usize,
}

// SAFETY: every access goes through `read` and `write`, whose callers promise to keep writers
// apart.
unsafe impl<T: Send + Sync> Sync for SharedSlice<T> {}

/// So many bytes are not to be had.
#[derive(Debug)]
pub(crate) struct NoMemory {
    layout: Option<Layout>,
}

impl NoMemory {
    /// How many; as many as can be counted where they are more.
    pub(crate) fn bytes(&self) -> u64 {
        self.layout.map_or(u64::MAX, |layout| layout.size() as u64)
    }
}

impl<T: Plain> SharedSlice<T> {
    /// Makes room for at least `len` values. What was in it is lost when it grows: all are zero
    /// then.
    pub(crate) fn reserve(&mut self, len: usize) {
        match self.try_reserve(len) {
            Ok(()) => {}
            Err(NoMemory {
                layout: Some(layout),
            }) => alloc::handle_alloc_error(layout),
            Err(NoMemory { layout: None }) => panic!("{len} values are more than can be counted"),
        }
    }

    /// As [`SharedSlice::reserve`], but for the end.
    ///
    /// # Errors
    /// Where there is no memory for them; nothing has changed then.
    pub(crate) fn try_reserve(&mut self, len: usize) -> Result<(), NoMemory> {
        if self.len >= len {
            return Ok(());
        }
        let room = len.checked_add(ALIGNMENT / size_of::<T>());
        let layout = room.and_then(|room| Layout::array::<T>(room).ok());
        let (Some(room), Some(layout)) = (room, layout) else {
            return Err(NoMemory { layout: None });
        };
        // The system hands out zeroed pages, which cost nothing until they are touched; an
        // allocation that is aligned would be filled.
        // SAFETY: the layout is not empty: `room` is at least `ALIGNMENT / size_of::<T>()`.
        let zeros = unsafe { alloc::alloc_zeroed(layout) };
        if zeros.is_null() {
            return Err(NoMemory {
                layout: Some(layout),
            });
        }
        let zeros = std::ptr::slice_from_raw_parts_mut(zeros.cast::<UnsafeCell<T>>(), room);
        // SAFETY: the global allocator gave it for this layout, which is that of the slice, since
        // `UnsafeCell<T>` has the layout of `T`; zeros are a value of any plain type.
        let allocation = unsafe { Box::from_raw(zeros) };
        let first = allocation.as_ptr().cast::<T>().align_offset(ALIGNMENT);
        *self = SharedSlice {
            allocation,
            first,
            len,
        };
        Ok(())
    }
}

impl<T> SharedSlice<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where it lies, which no other slice does that has any values.
    pub(crate) fn address(&self) -> usize {
        self.allocation.as_ptr().addr()
    }

    /// All values, by exclusive access.
    pub(crate) fn as_mut(&mut self) -> &mut [T] {
        let elements = &mut self.allocation[self.first..self.first + self.len];
        // SAFETY: `UnsafeCell<T>` has the layout of `T`, and `&mut self` excludes all others.
        unsafe { std::slice::from_raw_parts_mut(elements.as_mut_ptr().cast(), elements.len()) }
    }

    #[inline]
    fn elements(&self, range: Range<usize>) -> &[UnsafeCell<T>] {
        &self.allocation[self.first..self.first + self.len][range]
    }

    /// # Safety
    /// - Nobody writes any of these values while the result lives; the phase of their writer
    ///   is over.
    #[inline]
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &[T] {
        let elements = self.elements(range);
        // SAFETY: layout as above; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(elements.as_ptr().cast(), elements.len()) }
    }

    /// # Safety
    /// - Nobody else reads or writes any of these values while the result lives.
    #[expect(
        clippy::mut_from_ref,
        reason = "the point of the type; the caller keeps others away"
    )]
    pub(crate) unsafe fn write(&self, range: Range<usize>) -> &mut [T] {
        let elements = self.elements(range);
        // SAFETY: layout as above; the elements are `UnsafeCell`s, and the caller keeps others
        // away.
        unsafe {
            std::slice::from_raw_parts_mut(elements.as_ptr().cast::<T>().cast_mut(), elements.len())
        }
    }
}

/// Slices of the same length, to which nobody writes as long as this lives.
pub(crate) struct Settled<'a, T>(&'a [Arc<SharedSlice<T>>]);

impl<T> Clone for Settled<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Settled<'_, T> {}

impl<'a, T> Settled<'a, T> {
    /// # Safety
    /// - Nobody writes any value of these slices for `'a`; the phases of their writers are over.
    pub(crate) unsafe fn new(slices: &'a [Arc<SharedSlice<T>>]) -> Settled<'a, T> {
        Settled(slices)
    }

    /// Values of one of the slices.
    #[inline(always)]
    pub(crate) fn read(&self, slice: usize, range: Range<usize>) -> &'a [T] {
        // SAFETY: nobody writes to them, as `new` was promised.
        unsafe { self.0[slice].read(range) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::threads::pool::Pool;

    #[test]
    fn threads_fill_parts_of_their_own_and_read_all_in_the_next_phase() {
        let (threads, share) = (3, 10);
        let mut pool = Pool::new(threads, threads, Vec::new()).expect("threads start");
        let mut slice = SharedSlice::<f32>::default();
        slice.reserve(threads * share);
        assert!(slice.as_mut().as_ptr().addr().is_multiple_of(ALIGNMENT));
        for round in 1..4 {
            pool.each(threads, |piece| {
                let own = piece * share..(piece + 1) * share;
                // SAFETY: this part is the piece's alone, and nobody reads meanwhile.
                unsafe { slice.write(own) }.fill((round * piece) as f32);
            });
            pool.each(threads, |_| {
                // SAFETY: the phase that wrote it is over.
                let sum: f32 = unsafe { slice.read(0..threads * share) }.iter().sum();
                assert_eq!(sum, (round * share * 3) as f32);
            });
        }
        assert_eq!(slice.as_mut()[2 * share], 6.0);
        slice.reserve(threads * share + 1);
        assert!(slice.as_mut().iter().all(|value| *value == 0.0));
    }
}
