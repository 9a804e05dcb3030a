//! The stages of attention that is [split by keys](Split).

use bitnet_kernels::order::LANES;

use crate::exec::attention::{Attending, Cached};
use crate::exec::heads::{AT_ONCE, KEYS, Split, seen};
use crate::exec::pass::Pass;
use crate::exec::scratch::Scratch;
use crate::threads::tickets::Pieces;

impl Pass<'_> {
    /// The scores of some keys of a group.
    pub(super) fn split_scores<E: Cached>(
        &self,
        pieces: &mut Pieces<'_>,
        attention: &Attending<'_>,
        split: &Split,
        scratch: &mut Scratch,
    ) {
        let Attending { q, shape, .. } = attention;
        let (dim, kv_heads) = (shape.head_dim, shape.kv_heads);
        let group = shape.heads / kv_heads;
        for piece in pieces {
            let (shared, chunk) = (piece / split.chunks, piece % split.chunks);
            let (token, kv_head) = (shared / kv_heads, shared % kv_heads);
            let mut visible = self.visible::<E>(attention, token, kv_head);
            let before = chunk * KEYS;
            let Some(left) = visible.len.checked_sub(before).filter(|left| *left > 0) else {
                continue;
            };
            visible.start += before;
            visible.hidden = 0;
            visible.len = left.min(KEYS);
            let first = token * q.width + kv_head * group * dim;
            // SAFETY: written by an earlier operation.
            let queries = unsafe { q.values.read(first..first + group * dim) };
            let row = visible.len.next_multiple_of(LANES);
            let scores = &mut scratch.weights[..group * row];
            (E::kernels(self.kernels).scores)(queries, group, shape.scale, visible, scores);
            for (head, scores) in scores.chunks_exact(row).enumerate() {
                let at = split.row_of(shared * group + head) + before;
                // SAFETY: these keys of this group have a ticket of their own, which is ours.
                unsafe { self.scores.write(at..at + row) }.copy_from_slice(scores);
            }
        }
    }

    /// The weights of one head, and behind them what is to be divided by.
    pub(super) fn split_weights(
        &self,
        pieces: &mut Pieces<'_>,
        attention: &Attending<'_>,
        split: &Split,
    ) {
        let shape = attention.shape;
        for head in pieces {
            let (_, hidden, len) = seen(shape, self.places[head / shape.heads].position);
            let first = split.row_of(head);
            // SAFETY: the stage before wrote the scores; this head's ticket is ours alone.
            let row = unsafe { self.scores.write(first..first + split.row) };
            let (weights, behind) = row.split_at_mut(split.row - LANES);
            let weights = &mut weights[..len.next_multiple_of(LANES)];
            behind[0] = (self.kernels.softmax)(weights, hidden..len, shape.round_weights);
        }
    }

    /// Some elements of the weighted values of a group.
    pub(super) fn split_values<E: Cached>(
        &self,
        pieces: &mut Pieces<'_>,
        attention: &Attending<'_>,
        split: &Split,
        scratch: &mut Scratch,
    ) {
        let Attending { out, shape, .. } = attention;
        let (dim, kv_heads) = (shape.head_dim, shape.kv_heads);
        let group = shape.heads / kv_heads;
        for piece in pieces {
            let (shared, part) = (piece / split.value_pieces, piece % split.value_pieces);
            let (token, kv_head) = (shared / kv_heads, shared % kv_heads);
            let visible = self.visible::<E>(attention, token, kv_head);
            let stride = visible.stride;
            let blocks = stride / LANES;
            let blocks = part * split.blocks..blocks.min((part + 1) * split.blocks);
            let elements = blocks.start * LANES..dim.min(blocks.end * LANES);
            let rows = split.row_of(shared * group)..split.row_of((shared + 1) * group);
            // SAFETY: written by the stages before.
            let weights = unsafe { self.scores.read(rows) };
            let results = &mut scratch.values[..group * stride];
            let fours = weights.chunks(AT_ONCE * split.row);
            for (weights, results) in fours.zip(results.chunks_mut(AT_ONCE * stride)) {
                let mut sums = [0.0; AT_ONCE];
                let rows = weights.chunks_exact(split.row);
                let heads = rows.len();
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum = row[split.row - LANES];
                }
                let (sums, blocks) = (&sums[..heads], blocks.clone());
                (E::kernels(self.kernels).values)(weights, sums, visible, blocks, results);
            }
            let first = token * out.width + kv_head * group * dim;
            for (head, result) in results.chunks_exact(stride).enumerate() {
                let at = first + head * dim;
                let at = at + elements.start..at + elements.end;
                // SAFETY: these elements of this group have a ticket of their own, which is ours.
                let out = unsafe { out.values.write(at) };
                out.copy_from_slice(&result[elements.clone()]);
            }
        }
    }
}
