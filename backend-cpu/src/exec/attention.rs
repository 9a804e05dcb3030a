//! Rotation, the cache's rows, and attention over them.

use std::sync::Arc;

use bitnet_kernels::order::LANES;
use bitnet_kernels::program::{AttentionShape, BufferId, CacheType, RotationId};

use crate::exec::buffers::Buffer;
use crate::exec::cache::Pages;
use crate::exec::pass::{Pass, Phase};
use crate::exec::scratch::Scratch;
use crate::generic::attention::{PAGE, Visible};
use crate::isa::table::AttendFn;
use crate::memory::shared::{Settled, SharedSlice};

impl Pass<'_> {
    pub(super) fn rotate(
        &self,
        phase: Phase<'_>,
        x: BufferId,
        head_dim: usize,
        rotation: RotationId,
    ) {
        let (x, rotation) = (self.buffer(x), &self.rotations[rotation.0 as usize]);
        for token in self.tickets(phase, self.tokens.len()) {
            let at = token * x.width..(token + 1) * x.width;
            // SAFETY: written before the barrier; this token's ticket is ours alone. Angles were
            // made before the first barrier.
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
        phase: Phase<'_>,
        [q, k, v]: [BufferId; 3],
        rotation: Option<RotationId>,
        layer: usize,
        scratch: &mut Scratch,
    ) {
        let rotation = rotation.map(|id| &self.rotations[id.0 as usize]);
        let (q, k, v) = (self.buffer(q), self.buffer(k), self.buffer(v));
        for token in self.tickets(phase, self.tokens.len()) {
            let place = self.places[token];
            let cache = &self.caches[&place.cache];
            let (shape, pages) = (cache.keys_and_values(layer), &cache.pages);
            let (page, head_dim) = (place.position / PAGE, shape.head_dim);
            let row = |buffer: &Buffer| token * buffer.width..(token + 1) * buffer.width;
            // SAFETY: this token's ticket is ours alone.
            let (q, k) = unsafe { (q.values.write(row(q)), k.values.write(row(k))) };
            // SAFETY: written before the barrier.
            let v = unsafe { v.values.read(row(v)) };
            if let Some(rotation) = rotation {
                // SAFETY: made before the first barrier.
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

    #[expect(
        clippy::too_many_arguments,
        reason = "generic over the cache's element"
    )]
    pub(super) fn attention<E: Copy + Default>(
        &self,
        phase: Phase<'_>,
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
        // Heads that share keys make one piece, unless threads would be without one.
        let groups = self.tokens.len() * attention.kv_heads;
        let few = groups < self.threads && group.is_multiple_of(2);
        let (parts, heads) = if few { (2, group / 2) } else { (1, group) };
        for piece in self.tickets(phase, groups * parts) {
            let (token, first) = (
                piece / (attention.kv_heads * parts),
                piece % (attention.kv_heads * parts) * heads,
            );
            let place = self.places[token];
            let cache = &self.caches[&place.cache];
            let shape = cache.keys_and_values(layer);
            let kv_head = first / group;
            let end = place.position + 1;
            let lowest = end - attention.window.map_or(end, |window| window.min(end));
            // Keys lie in strips, so that the window's first key may have others before it.
            let hidden = lowest % LANES;
            let start = lowest - hidden;
            let len = end - start;
            let at = token * q.width + first * dim..token * q.width + (first + heads) * dim;
            // SAFETY: written before the barrier.
            let queries = unsafe { q.values.read(at.clone()) };
            let stride = shape.stride;
            // SAFETY: keys and values were written before the barrier, and no others are during
            // this operation.
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
