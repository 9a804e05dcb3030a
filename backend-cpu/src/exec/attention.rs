//! Rotation, the cache's rows, and attention over them.

use std::ops::Range;
use std::sync::Arc;

use bitnet_kernels::order::LANES;
use bitnet_kernels::program::{AttentionShape, BufferId, CacheType, RotationId};

use crate::exec::buffers::Buffer;
use crate::exec::cache::Pages;
use crate::exec::pass::Pass;
use crate::exec::pieces::rows_of;
use crate::exec::scratch::Scratch;
use crate::generic::attention::{PAGE, Visible};
use crate::isa::table::AttendFn;
use crate::memory::shared::{Settled, SharedSlice};
use crate::threads::tickets::{Pieces, first_of_run, run_of};

/// How attention is cut. Heads that share keys make one piece. What cannot be dealt out to all
/// threads evenly is cut into parts of such groups, which come last in each thread's run.
struct Cut {
    threads: usize,
    /// Heads that share keys.
    heads: usize,
    /// Groups that are each thread's as a whole.
    whole: usize,
    /// The parts of each of the other groups, and how many pieces there are.
    parts: usize,
    pieces: usize,
}

impl Cut {
    fn new(groups: usize, heads: usize, threads: usize) -> Cut {
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
    fn piece(&self, piece: usize) -> (usize, Range<usize>) {
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

impl Pass<'_> {
    pub(super) fn rotate(
        &self,
        pieces: &mut Pieces<'_>,
        x: BufferId,
        head_dim: usize,
        rotation: RotationId,
    ) {
        let (x, rotation) = (self.buffer(x), &self.rotations[rotation.0 as usize]);
        for token in rows_of(pieces, self.tokens.len(), x.width) {
            let at = token * x.width..(token + 1) * x.width;
            // SAFETY: written by earlier operations; this token's ticket is ours alone. Angles were
            // made before them.
            let (row, angles) = unsafe {
                let angles = rotation.table.read(rotation.row(token));
                (x.values.write(at), angles)
            };
            for head in row.chunks_exact_mut(head_dim) {
                (self.kernels.rotate)(rotation.pairing, angles, head);
            }
        }
    }

    pub(super) fn rope_store(
        &self,
        pieces: &mut Pieces<'_>,
        [q, k, v]: [BufferId; 3],
        rotation: Option<RotationId>,
        layer: usize,
        scratch: &mut Scratch,
    ) {
        let rotation = rotation.map(|id| &self.rotations[id.0 as usize]);
        let (q, k, v) = (self.buffer(q), self.buffer(k), self.buffer(v));
        for token in rows_of(pieces, self.tokens.len(), q.width) {
            let place = self.places[token];
            let cache = &self.caches[&place.cache];
            let (shape, pages) = (cache.keys_and_values(layer), &cache.pages);
            let (page, head_dim) = (place.position / PAGE, shape.head_dim);
            let row = |buffer: &Buffer| token * buffer.width..(token + 1) * buffer.width;
            // SAFETY: this token's ticket is ours alone.
            let (q, k) = unsafe { (q.values.write(row(q)), k.values.write(row(k))) };
            // SAFETY: written by an earlier operation.
            let v = unsafe { v.values.read(row(v)) };
            if let Some(rotation) = rotation {
                // SAFETY: made before the first operation.
                let angles = unsafe { rotation.table.read(rotation.row(token)) };
                for head in q
                    .chunks_exact_mut(head_dim)
                    .chain(k.chunks_exact_mut(head_dim))
                {
                    (self.kernels.rotate)(rotation.pairing, angles, head);
                }
            }
            if self.program.cache_type == CacheType::F16 {
                (self.kernels.round_f16)(q);
            }
            let heads = k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim));
            for (kv_head, (k, v)) in heads.enumerate() {
                let value = shape.value(kv_head, place.position);
                let values = value..value + head_dim;
                // A strip of sixteen keys, of which this is one, element by element.
                let key = shape.key(kv_head, place.position, 0);
                let elements = (key..).step_by(LANES);
                // SAFETY: this position of this sequence belongs to this token alone, and its page
                // to this sequence: pages that are written to were made its own before the pass.
                unsafe {
                    match self.program.cache_type {
                        CacheType::F16 => {
                            let narrow = &mut scratch.halves[..head_dim];
                            (self.kernels.narrow)(v, pages.f16[page].write(values));
                            (self.kernels.narrow)(k, narrow);
                            for (at, k) in elements.zip(narrow) {
                                pages.f16[page].write(at..at + 1)[0] = *k;
                            }
                        }
                        CacheType::F32 => {
                            pages.f32[page].write(values).copy_from_slice(v);
                            for (at, k) in elements.zip(k) {
                                pages.f32[page].write(at..at + 1)[0] = *k;
                            }
                        }
                    }
                }
            }
        }
    }

    fn cut_attention(&self, shape: &AttentionShape) -> Cut {
        let groups = self.tokens.len() * shape.kv_heads;
        Cut::new(groups, shape.heads / shape.kv_heads, self.threads)
    }

    pub(super) fn attention_pieces(&self, shape: &AttentionShape) -> usize {
        self.cut_attention(shape).pieces
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "generic over the cache's element"
    )]
    pub(super) fn attention<E: Copy + Default>(
        &self,
        pieces: &mut Pieces<'_>,
        [q, out]: [BufferId; 2],
        attention: &AttentionShape,
        layer: usize,
        scratch: &mut Scratch,
        attend: AttendFn<E>,
        pages: impl Fn(&Pages) -> &[Arc<SharedSlice<E>>],
    ) {
        let dim = attention.head_dim;
        let group = attention.heads / attention.kv_heads;
        let (q, out) = (self.buffer(q), self.buffer(out));
        let cut = self.cut_attention(attention);
        // All tokens meet the keys and values of one group before those of the next: the second
        // cache holds them meanwhile.
        for piece in pieces {
            let (shared, heads) = cut.piece(piece);
            let tokens = self.tokens.len();
            let (token, kv_head) = (shared % tokens, shared / tokens);
            let (first, heads) = (kv_head * group + heads.start, heads.len());
            let place = self.places[token];
            let cache = &self.caches[&place.cache];
            let shape = cache.keys_and_values(layer);
            let end = place.position + 1;
            let lowest = end - attention.window.map_or(end, |window| window.min(end));
            // Keys lie in strips, so that the window's first key may have others before it.
            let hidden = lowest % LANES;
            let start = lowest - hidden;
            let len = end - start;
            let at = token * q.width + first * dim..token * q.width + (first + heads) * dim;
            // SAFETY: written by an earlier operation.
            let queries = unsafe { q.values.read(at.clone()) };
            let stride = shape.stride;
            // SAFETY: keys and values were written by earlier operations, and no others are during
            // this one.
            let pages = unsafe { Settled::new(pages(&cache.pages)) };
            let visible = Visible {
                pages,
                keys: shape.key(kv_head, 0, 0),
                values: shape.value(kv_head, 0),
                stride,
                start,
                hidden,
                len,
            };
            let results = &mut scratch.values[..heads * stride];
            attend(
                queries,
                heads,
                attention.scale,
                attention.round_weights,
                visible,
                &mut scratch.weights,
                results,
            );
            // SAFETY: these heads of this token have a ticket of their own, which is ours.
            let out = unsafe { out.values.write(at) };
            for (out, result) in out.chunks_exact_mut(dim).zip(results.chunks_exact(stride)) {
                out.copy_from_slice(&result[..dim]);
            }
        }
    }
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
