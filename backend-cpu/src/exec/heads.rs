//! How attention is cut into pieces: by heads, or, in long contexts, by keys.

use std::ops::Range;

use bitnet_kernels::Program;
use bitnet_kernels::order::LANES;
use bitnet_kernels::program::AttentionShape;

use crate::generic::attention::PAGE;
use crate::threads::tickets::{first_of_run, run_of};

/// How attention is cut. Heads that share keys make one piece. What cannot be dealt out to all
/// threads evenly is cut into parts of such groups, which come last in each thread's run.
pub(super) struct Cut {
    threads: usize,
    /// Heads that share keys.
    heads: usize,
    /// Groups that are each thread's as a whole.
    whole: usize,
    /// The parts of each of the other groups, and how many pieces there are.
    parts: usize,
    pub(super) pieces: usize,
}

impl Cut {
    pub(super) fn new(groups: usize, heads: usize, threads: usize) -> Cut {
        let (whole, rest) = (groups / threads, groups % threads);
        // The most heads that a thread then has of these groups.
        let most = |parts: &usize| (rest * parts).div_ceil(threads) * (heads / parts);
        let even = (1..=heads).filter(|parts| heads.is_multiple_of(*parts));
        let parts = even.min_by_key(most).unwrap_or(1);
        Cut {
            threads,
            heads,
            whole,
            parts,
            pieces: threads * whole + rest * parts,
        }
    }

    /// The group of a piece, and its heads within the group.
    pub(super) fn piece(&self, piece: usize) -> (usize, Range<usize>) {
        let run = run_of(piece, self.pieces, self.threads);
        let first = first_of_run(run, self.pieces, self.threads);
        if piece - first < self.whole {
            return (run * self.whole + piece - first, 0..self.heads);
        }
        // All runs up to this one have whole groups first.
        let part = piece - (run + 1) * self.whole;
        let heads = self.heads / self.parts;
        let first = part % self.parts * heads;
        let group = self.threads * self.whole + part / self.parts;
        (group, first..first + heads)
    }
}

/// Positions of a piece of scores.
pub(super) const KEYS: usize = 2 * PAGE;
/// Positions from which on attention is split.
const LONG: usize = 512;

/// The stages of attention that is split; what comes last is the values.
pub(super) const SCORES: usize = 0;
pub(super) const WEIGHTS: usize = 1;

/// How attention is split where threads are more than groups of heads that share keys, and
/// contexts are long. Then scores are computed for some keys at a time, weights for a head, and
/// values for some elements, so that no thread reads what another does. Each sum is what it would
/// be otherwise.
pub(super) struct Split {
    /// Scores of a head, and a strip of sixteen with what they are to be divided by.
    pub(super) row: usize,
    /// Pieces of the scores of a group.
    pub(super) chunks: usize,
    /// Blocks of 16 elements in a piece of the values of a group, and how many of these.
    pub(super) blocks: usize,
    pub(super) value_pieces: usize,
}

impl Split {
    /// For tokens at these positions.
    pub(super) fn of(
        shape: &AttentionShape,
        positions: impl ExactSizeIterator<Item = usize> + Clone,
        threads: usize,
    ) -> Option<Split> {
        let groups = positions.len() * shape.kv_heads;
        if groups >= threads {
            return None;
        }
        let lens = positions.map(|position| seen(shape, position).2);
        let longest = lens.max().filter(|longest| *longest >= LONG)?;
        let all = shape.head_dim.div_ceil(LANES);
        // Two blocks are a line of the cache in binary16.
        let blocks = if groups * all >= 4 * threads { 2 } else { 1 };
        Some(Split {
            row: longest.next_multiple_of(LANES) + LANES,
            chunks: longest.div_ceil(KEYS),
            blocks,
            value_pieces: all.div_ceil(blocks),
        })
    }

    /// Where the row of a head begins, of all heads of all tokens.
    pub(super) fn row_of(&self, head: usize) -> usize {
        head * self.row
    }
}

/// Scores that the heads of a program have at a time where its attention is split, with tokens at
/// these positions.
pub(crate) fn most_scores(
    program: &Program,
    positions: impl ExactSizeIterator<Item = usize> + Clone,
    threads: usize,
) -> usize {
    let shapes = program.attention_shapes();
    let needed = shapes.filter_map(|shape| {
        let split = Split::of(shape, positions.clone(), threads)?;
        Some(split.row_of(positions.len() * shape.heads))
    });
    needed.max().unwrap_or(0)
}

/// Heads that kernels handle side by side.
pub(super) const AT_ONCE: usize = 4;

/// Weights that a thread needs for an attention of this shape, in caches of so many positions.
pub(super) fn most_weights(shape: &AttentionShape, positions: usize) -> usize {
    let whole = AT_ONCE * positions.next_multiple_of(LANES);
    whole.max(shape.heads / shape.kv_heads * KEYS)
}

/// What a token at `position` sees: from where on, how many positions from there on are before its
/// window, and how many there are with these.
pub(super) fn seen(shape: &AttentionShape, position: usize) -> (usize, usize, usize) {
    let end = position + 1;
    let lowest = end - shape.window.map_or(end, |window| window.min(end));
    // Keys lie in strips, so that the window's first key may have others before it.
    let hidden = lowest % LANES;
    let start = lowest - hidden;
    (start, hidden, end - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_head_is_in_one_piece_and_runs_are_as_even_as_heads_allow() {
        for threads in 1..=33 {
            for (groups, heads) in [(1, 4), (5, 4), (8, 2), (2, 7), (3, 1), (40, 4), (6, 6)] {
                let cut = Cut::new(groups, heads, threads);
                let mut seen = vec![0; groups * heads];
                let mut of_run = vec![0; threads];
                for piece in 0..cut.pieces {
                    let (group, range) = cut.piece(piece);
                    of_run[run_of(piece, cut.pieces, threads)] += range.len();
                    for head in range {
                        seen[group * heads + head] += 1;
                    }
                }
                let what = format!("{groups} x {heads} heads, {threads} threads");
                assert!(seen.iter().all(|times| *times == 1), "{what}");
                let most = of_run.iter().max().copied().unwrap_or(0);
                assert!(
                    most <= (groups * heads).div_ceil(threads) + heads / 2,
                    "{what}: {most}"
                );
            }
        }
        let two = Cut::new(5, 4, 2);
        let pieces: Vec<_> = (0..two.pieces).map(|piece| two.piece(piece)).collect();
        let own = [(0, 0..4), (1, 0..4), (4, 0..2)];
        let others = [(2, 0..4), (3, 0..4), (4, 2..4)];
        assert_eq!(pieces, [own, others].concat());
    }
}
