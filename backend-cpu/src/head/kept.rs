//! A screen on its way to other processes and from them, in parts: of each of its arrays, piece by
//! piece, in the order in which they lie in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bitnet_kernels::ScreenParts;

use super::made::{Made, PIECE, piece_rows};
use crate::generic::screen::{Bounds, Rows, RowsMut, blocks};
use crate::memory::pages::{Plain, bytes_of, bytes_of_mut, values_of};
use crate::microkernel::screen::{Coarse, Fine};

/// Names the codes as [`encode`](crate::generic::screen::encode) makes them, the pieces, and the
/// order of the parts.
#[cfg(target_endian = "little")]
pub(super) const CODES: &str = "six bits, pieces of 256 rows, little-endian, version 1";
#[cfg(target_endian = "big")]
pub(super) const CODES: &str = "six bits, pieces of 256 rows, big-endian, version 1";

/// The arrays, in their order.
#[derive(Clone, Copy)]
enum Array {
    Coarse,
    Fine,
    Scale,
    CoarseError,
    Error,
    Norm,
}

const ARRAYS: [Array; 6] = [
    Array::Coarse,
    Array::Fine,
    Array::Scale,
    Array::CoarseError,
    Array::Error,
    Array::Norm,
];

/// Bytes of each part of a screen. Behind those of the arrays comes one of a byte: whether the last
/// search needed all bits of most rows.
pub(super) fn parts(rows: usize, cols: usize) -> Vec<usize> {
    let row_bytes = |array| match array {
        Array::Coarse => blocks(cols) * size_of::<Coarse>(),
        Array::Fine => blocks(cols) * size_of::<Fine>(),
        Array::Scale | Array::CoarseError | Array::Error | Array::Norm => size_of::<f32>(),
    };
    let pieces = 0..rows.div_ceil(PIECE);
    let each = ARRAYS.into_iter().flat_map(|array| {
        let pieces = pieces.clone();
        pieces.map(move |piece| piece_rows(piece, rows).len() * row_bytes(array))
    });
    each.chain([1]).collect()
}

/// A screen that another process has made.
pub(super) struct Kept {
    parts: Arc<dyn ScreenParts>,
    pieces: usize,
    damaged: AtomicBool,
}

impl Kept {
    /// That of a head of so many rows.
    pub(super) fn new(parts: Arc<dyn ScreenParts>, rows: usize) -> Kept {
        Kept {
            parts,
            pieces: rows.div_ceil(PIECE),
            damaged: AtomicBool::new(false),
        }
    }

    fn index(&self, array: Array, piece: usize) -> usize {
        array as usize * self.pieces + piece
    }

    /// What the last search needed.
    pub(super) fn dense(&self) -> bool {
        let part = self.parts.part(ARRAYS.len() * self.pieces);
        part.is_some_and(|part| part == [1])
    }

    /// Whether a part was not what was made.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// The values of a part.
    fn values<T: Plain>(&self, array: Array, piece: usize) -> Option<&[T]> {
        let part = self.parts.part(self.index(array, piece));
        let values = part.and_then(values_of);
        if values.is_none() {
            self.damaged.store(true, Ordering::Relaxed);
        }
        values
    }

    /// The rows of a piece. What is not needed with all bits, or without them, is left out.
    pub(super) fn rows(&self, piece: usize, all_bits: bool) -> Option<Rows<'_>> {
        let (fine, errors): (&[Fine], _) = match all_bits {
            true => (self.values(Array::Fine, piece)?, Array::Error),
            false => (&[], Array::CoarseError),
        };
        let errors = self.values(errors, piece)?;
        let (coarse_error, error): (&[f32], &[f32]) = match all_bits {
            true => (&[], errors),
            false => (errors, &[]),
        };
        Some(Rows {
            coarse: self.values(Array::Coarse, piece)?,
            fine,
            bounds: Bounds {
                scale: self.values(Array::Scale, piece)?,
                coarse_error,
                error,
                norm: self.values(Array::Norm, piece)?,
            },
        })
    }

    /// Copies the rows of a piece; `false` if they are not what was made.
    pub(super) fn copy(&self, piece: usize, into: &mut RowsMut<'_>) -> bool {
        let bounds = &mut into.bounds;
        let arrays = [
            bytes_of_mut(into.coarse),
            bytes_of_mut(into.fine),
            bytes_of_mut(bounds.scale),
            bytes_of_mut(bounds.coarse_error),
            bytes_of_mut(bounds.error),
            bytes_of_mut(bounds.norm),
        ];
        let copied = ARRAYS.into_iter().zip(arrays).all(|(array, into)| {
            let part = self.index(array, piece);
            self.parts.copy(part, into)
        });
        if !copied {
            self.damaged.store(true, Ordering::Relaxed);
        }
        copied
    }
}

/// A screen that is made.
pub(super) struct Complete {
    made: Arc<Made>,
    dense: [u8; 1],
}

impl Complete {
    /// # Safety
    /// - All rows are made, and nobody writes any of them any more.
    pub(super) unsafe fn new(made: Arc<Made>, dense: bool) -> Complete {
        let dense = [u8::from(dense)];
        Complete { made, dense }
    }
}

impl ScreenParts for Complete {
    fn part(&self, index: usize) -> Option<&[u8]> {
        let rows = self.made.rows;
        let pieces = rows.div_ceil(PIECE);
        if index == ARRAYS.len() * pieces {
            return Some(&self.dense);
        }
        let array = ARRAYS.get(index / pieces)?;
        // SAFETY: nobody writes them, by the promise that this was made with.
        let rows = unsafe { self.made.read(piece_rows(index % pieces, rows)) };
        Some(match array {
            Array::Coarse => bytes_of(rows.coarse),
            Array::Fine => bytes_of(rows.fine),
            Array::Scale => bytes_of(rows.bounds.scale),
            Array::CoarseError => bytes_of(rows.bounds.coarse_error),
            Array::Error => bytes_of(rows.bounds.error),
            Array::Norm => bytes_of(rows.bounds.norm),
        })
    }
}
