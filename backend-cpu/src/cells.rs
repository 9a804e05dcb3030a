//! Memory that the threads of a pool fill together.

use std::cell::UnsafeCell;
use std::ops::Range;

/// A slice whose parts different threads may write at the same time.
#[derive(Default)]
pub(crate) struct Cells<T>(Box<[UnsafeCell<T>]>);

// SAFETY: every access goes through `read` and `write`, whose callers promise to keep writers apart.
unsafe impl<T: Send + Sync> Sync for Cells<T> {}

impl<T: Copy + Default> Cells<T> {
    /// Makes room for at least `len` values. What was in it is lost when it grows: all are zero then.
    pub(crate) fn reserve(&mut self, len: usize) {
        if self.0.len() < len {
            // `vec!` of zeros asks the system for zeroed pages, which cost nothing until they are touched.
            let zeros = vec![T::default(); len].into_boxed_slice();
            // SAFETY: `UnsafeCell<T>` has the layout of `T`, and the box is owned.
            self.0 = unsafe { Box::from_raw(Box::into_raw(zeros) as *mut [UnsafeCell<T>]) };
        }
    }

    /// All values, by exclusive access.
    pub(crate) fn as_mut(&mut self) -> &mut [T] {
        // SAFETY: `UnsafeCell<T>` has the layout of `T`, and `&mut self` excludes all others.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len()) }
    }

    /// # Safety
    /// - Nobody writes any of these values while the result lives: their writer was before the last barrier.
    pub(crate) unsafe fn read(&self, range: Range<usize>) -> &[T] {
        let cells = &self.0[range];
        // SAFETY: layout as above; the caller keeps writers away.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast(), cells.len()) }
    }

    /// # Safety
    /// - Nobody else reads or writes any of these values while the result lives.
    #[expect(
        clippy::mut_from_ref,
        reason = "the point of the type; the caller keeps others away"
    )]
    pub(crate) unsafe fn write(&self, range: Range<usize>) -> &mut [T] {
        let cells = &self.0[range];
        // SAFETY: layout as above; the cells are `UnsafeCell`s, and the caller keeps others away.
        unsafe {
            std::slice::from_raw_parts_mut(cells.as_ptr().cast::<T>().cast_mut(), cells.len())
        }
    }
}
