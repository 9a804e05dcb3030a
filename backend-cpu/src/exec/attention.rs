//! Rotation, the cache's rows, and attention over them.

use std::sync::Arc;

use bitnet_kernels::order::LANES;
use bitnet_kernels::program::{AttentionShape, BufferId, CacheType, RotationId};

use crate::exec::buffers::Buffer;
use crate::exec::cache::Pages;
use crate::exec::heads::{AT_ONCE, Cut, SCORES, Split, WEIGHTS, seen};
use crate::exec::pass::Pass;
use crate::exec::pieces::rows_of;
use crate::exec::scratch::Scratch;
use crate::generic::attention::{PAGE, Visible};
use crate::isa::table::{Attention, Kernels, SoftmaxFn};
use crate::memory::shared::{Settled, SharedSlice};
use crate::threads::tickets::Pieces;

/// Attention over what one layer keeps.
pub(super) struct Attending<'a> {
    pub(super) q: &'a Buffer,
    pub(super) out: &'a Buffer,
    pub(super) shape: &'a AttentionShape,
    pub(super) layer: usize,
}

/// An element of the cache.
pub(super) trait Cached: Sized {
    fn kernels(kernels: &Kernels) -> &Attention<Self>;
    fn pages(pages: &Pages) -> &[Arc<SharedSlice<Self>>];
}

impl Cached for u16 {
    fn kernels(kernels: &Kernels) -> &Attention<u16> {
        &kernels.attention_f16
    }

    fn pages(pages: &Pages) -> &[Arc<SharedSlice<u16>>] {
        &pages.f16
    }
}

impl Cached for f32 {
    fn kernels(kernels: &Kernels) -> &Attention<f32> {
        &kernels.attention_f32
    }

    fn pages(pages: &Pages) -> &[Arc<SharedSlice<f32>>] {
        &pages.f32
    }
}

/// Attention of adjacent query heads that share keys and values. `q` is `[heads, head_dim]`, `out`
/// `[heads, stride]`; `weights` has room for those of [`AT_ONCE`] heads.
pub(crate) fn attend<E>(
    (kernels, softmax): (&Attention<E>, SoftmaxFn),
    shape: &AttentionShape,
    q: &[f32],
    visible: Visible<'_, E>,
    weights: &mut [f32],
    out: &mut [f32],
) {
    let row = visible.len.next_multiple_of(LANES);
    let results = out.chunks_mut(AT_ONCE * visible.stride);
    for (q, results) in q.chunks(AT_ONCE * shape.head_dim).zip(results) {
        let heads = q.len() / shape.head_dim;
        let weights = &mut weights[..heads * row];
        (kernels.scores)(q, heads, shape.scale, visible, weights);
        let mut sums = [0.0; AT_ONCE];
        for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact_mut(row)) {
            *sum = softmax(weights, visible.hidden..visible.len, shape.round_weights);
        }
        let blocks = 0..visible.stride / LANES;
        (kernels.values)(weights, &sums[..heads], visible, blocks, results);
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

    fn split_attention(&self, shape: &AttentionShape) -> Option<Split> {
        let positions = self.places.iter().map(|place| place.position);
        Split::of(shape, positions, self.threads)
    }

    /// How many stages attention has, each of which begins when all of the one before is done.
    pub(super) fn attention_stages(&self, shape: &AttentionShape) -> usize {
        match self.split_attention(shape) {
            Some(_) => 3,
            None => 1,
        }
    }

    pub(super) fn attention_pieces(&self, shape: &AttentionShape, stage: usize) -> usize {
        let tokens = self.tokens.len();
        match (self.split_attention(shape), stage) {
            (None, _) => self.cut_attention(shape).pieces,
            (Some(split), SCORES) => tokens * shape.kv_heads * split.chunks,
            (Some(_), WEIGHTS) => tokens * shape.heads,
            (Some(split), _) => tokens * shape.kv_heads * split.value_pieces,
        }
    }

    pub(super) fn attention<E: Cached>(
        &self,
        stage: usize,
        pieces: &mut Pieces<'_>,
        attention: &Attending<'_>,
        scratch: &mut Scratch,
    ) {
        match (self.split_attention(attention.shape), stage) {
            (None, _) => self.attend::<E>(pieces, attention, scratch),
            (Some(split), SCORES) => self.split_scores::<E>(pieces, attention, &split, scratch),
            (Some(split), WEIGHTS) => self.split_weights(pieces, attention, &split),
            (Some(split), _) => self.split_values::<E>(pieces, attention, &split, scratch),
        }
    }

    /// What the heads of a group see: those of one token that share keys and values.
    pub(super) fn visible<E: Cached>(
        &self,
        attention: &Attending<'_>,
        token: usize,
        kv_head: usize,
    ) -> Visible<'_, E> {
        let place = self.places[token];
        let cache = &self.caches[&place.cache];
        let shape = cache.keys_and_values(attention.layer);
        let (start, hidden, len) = seen(attention.shape, place.position);
        // SAFETY: keys and values were written by earlier operations, and no others are during this
        // one.
        let pages = unsafe { Settled::new(E::pages(&cache.pages)) };
        Visible {
            pages,
            keys: shape.key(kv_head, 0, 0),
            values: shape.value(kv_head, 0),
            stride: shape.stride,
            start,
            hidden,
            len,
        }
    }

    /// Attention of whole heads.
    fn attend<E: Cached>(
        &self,
        pieces: &mut Pieces<'_>,
        attention: &Attending<'_>,
        scratch: &mut Scratch,
    ) {
        let Attending { q, out, shape, .. } = attention;
        let (dim, group) = (shape.head_dim, shape.heads / shape.kv_heads);
        let kernels = (E::kernels(self.kernels), self.kernels.softmax);
        let cut = self.cut_attention(attention.shape);
        // All tokens meet the keys and values of one group before those of the next: the second
        // cache holds them meanwhile.
        for piece in pieces {
            let (shared, heads) = cut.piece(piece);
            let tokens = self.tokens.len();
            let (token, kv_head) = (shared % tokens, shared / tokens);
            let (first, heads) = (kv_head * group + heads.start, heads.len());
            let at = token * q.width + first * dim..token * q.width + (first + heads) * dim;
            // SAFETY: written by an earlier operation.
            let queries = unsafe { q.values.read(at.clone()) };
            let visible = self.visible::<E>(attention, token, kv_head);
            let stride = visible.stride;
            let results = &mut scratch.values[..heads * stride];
            let weights = &mut scratch.weights;
            attend(kernels, shape, queries, visible, weights, results);
            // SAFETY: these heads of this token have a ticket of their own, which is ours.
            let out = unsafe { out.values.write(at) };
            for (out, result) in out.chunks_exact_mut(dim).zip(results.chunks_exact(stride)) {
                out.copy_from_slice(&result[..dim]);
            }
        }
    }
}
