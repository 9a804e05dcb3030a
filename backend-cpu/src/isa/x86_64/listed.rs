//! Lists of columns, taken some at a time.

use crate::microkernel::columns::{Column, Line, Lines};

/// The `i`th column of a list that is not empty. Those that fill it up are multiplied by 0.
#[inline(always)]
pub(super) fn listed(list: &[Column], i: usize) -> Column {
    let none = Column { q: 0, ..list[0] };
    list.get(i).copied().unwrap_or(none)
}

/// The columns of a list from `first` on, `N` at most, and how many they are.
#[inline(always)]
pub(super) fn columns_from<'a, const N: usize>(
    m: Lines<'a>,
    list: &[Column],
    first: usize,
) -> ([&'a [Line]; N], usize) {
    let mut columns = [&m.lines[..0]; N];
    let rest = list.get(first..).unwrap_or(&[]);
    for (at, column) in columns.iter_mut().zip(rest) {
        *at = m.column(*column);
    }
    (columns, rest.len().min(N))
}
