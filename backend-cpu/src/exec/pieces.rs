//! How much makes one piece of work.
//!
//! Both the executor, which cuts operations into pieces, and the scratch memory, which holds a
//! piece's results, take their sizes from here.

use bitnet_kernels::order::LANES;

use crate::generic::gemm::PANEL_ROWS;
use crate::threads::tickets::Pieces;

/// The most rows in a piece for few tokens. Within a piece, rows are prefetched.
const MAX_ROWS: usize = 256;
/// The most tokens that count as few.
const FEW_TOKENS: usize = 64;
/// Pieces that each thread should find in an operation, so that none waits long for the last one.
const PIECES_PER_THREAD: usize = 4;
/// Fewer rows than a panel's are a multiple of a strip's. One token, which meets no panels, has
/// such pieces where threads would otherwise have too different a number of them.
const MIN_ROWS: usize = LANES;

/// The most rows of a matrix in a piece, where `tokens` rows of activations meet it. `panels` are
/// those of [`Microkernel::PIECE_PANELS`](crate::microkernel::gemm::Microkernel::PIECE_PANELS).
const fn max_rows(tokens: usize, panels: usize) -> usize {
    if tokens > FEW_TOKENS {
        panels * PANEL_ROWS
    } else {
        MAX_ROWS
    }
}

/// Values of activations in a piece at least: a few microseconds' worth. An operation on fewer is
/// not worth sharing.
const MIN_VALUES: usize = 8192;

/// Rows of activations in a piece of an operation that goes through them row by row.
const fn rows_at_once(width: usize) -> usize {
    match MIN_VALUES / width {
        0 => 1,
        rows => rows,
    }
}

/// Pieces of an operation that goes through `rows` rows of activations.
pub(super) fn row_pieces(rows: usize, width: usize) -> usize {
    rows.div_ceil(rows_at_once(width))
}

/// The rows of these pieces.
pub(super) fn rows_of(
    pieces: &mut Pieces<'_>,
    rows: usize,
    width: usize,
) -> impl Iterator<Item = usize> {
    let at_once = rows_at_once(width);
    pieces.flat_map(move |piece| piece * at_once..rows.min((piece + 1) * at_once))
}

/// Whether the largest run of pieces is at most a quarter above the mean.
fn is_even(pieces: usize, threads: usize) -> bool {
    4 * pieces.div_ceil(threads) * threads <= 5 * pieces
}

/// Rows in a piece of an operation that makes `total` of them for each of `tokens` rows of
/// activations: a power of two times those of a panel, as long as there are pieces enough. Where
/// many tokens meet several panels at once, threads get as many pieces each, as large as they may
/// be.
pub(super) fn piece_rows(total: usize, tokens: usize, threads: usize, panels: usize) -> usize {
    let most = max_rows(tokens, panels);
    if tokens > FEW_TOKENS && panels > 1 {
        let pieces = threads * total.div_ceil(threads * most).max(1);
        return total.div_ceil(pieces).next_multiple_of(LANES);
    }
    let mut rows = PANEL_ROWS;
    while rows < most && total >= 2 * rows * PIECES_PER_THREAD * threads {
        rows *= 2;
    }
    while tokens == 1 && rows > MIN_ROWS && !is_even(total.div_ceil(rows), threads) {
        rows /= 2;
    }
    rows
}

/// The most results of a piece, where each matrix meets one of these numbers of rows of
/// activations.
pub(super) fn most_results(tokens: impl IntoIterator<Item = usize>, panels: usize) -> usize {
    let results = tokens.into_iter();
    let results = results.map(|tokens| tokens * max_rows(tokens, panels));
    results.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_has_no_more_results_than_there_is_memory_for() {
        for tokens in 0..300 {
            for threads in [1, 2, 7, 64] {
                for total in [1, 63, 64, 500, 2560, 128_256, 1 << 24] {
                    let rows = piece_rows(total, tokens, threads, 1);
                    let least = if tokens == 1 { MIN_ROWS } else { PANEL_ROWS };
                    assert!(rows.is_multiple_of(least));
                    assert!(rows * tokens <= most_results([tokens], 1), "{tokens}");
                    let rows = piece_rows(total, tokens, threads, 10);
                    assert!(rows > 0 && rows.is_multiple_of(MIN_ROWS));
                    assert!(rows * tokens <= most_results([tokens], 10), "{tokens}");
                }
            }
        }
    }

    #[test]
    fn threads_have_about_as_many_rows_of_a_token_of_the_2b_model() {
        // Query, key and value; the outputs of attention and of the FFN; gate and factor.
        for total in [3840, 2560, 6912] {
            for threads in 1..=32 {
                let rows = piece_rows(total, 1, threads, 1);
                let pieces = total.div_ceil(rows);
                let largest = pieces.div_ceil(threads) as f64;
                let mean = pieces as f64 / threads as f64;
                assert!(largest / mean <= 1.25, "{total} rows, {threads} threads");
                assert!(
                    threads > 4 || rows >= PANEL_ROWS,
                    "{total} rows, {threads} threads"
                );
            }
        }
    }
}
