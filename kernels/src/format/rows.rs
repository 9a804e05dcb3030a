//! Rows as whole blocks.

use bytemuck::{NoUninit, bytes_of};

/// Appends a row of weights, each block of them by `encode`.
///
/// # Panics
/// If `weights` are not whole blocks.
pub(super) fn pack<W, B: NoUninit, const BLOCK: usize>(
    weights: &[W],
    out: &mut Vec<u8>,
    encode: impl Fn(&[W; BLOCK]) -> B,
) {
    let (whole, rest) = weights.as_chunks();
    assert!(
        rest.is_empty(),
        "{} weights are no whole blocks",
        weights.len()
    );
    for block in whole {
        out.extend(bytes_of(&encode(block)));
    }
}
