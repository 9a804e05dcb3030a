// Rotates queries in place and writes rotated keys and plain values to the cache. A thread has four
// values of a head.
#include shared/extent.wgsl
#include shared/exact.wgsl
@group(0) @binding(2) var<storage, read_write> results: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read> v: array<f32>;
#include shared/rope_store.wgsl

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let per_head = HEAD_DIM / 4u;
    let head = id.x / per_head;
    let part = id.x % per_head;
    if (head >= HEADS + 2u * KV_HEADS) {
        return;
    }
    let token = extent.first_row + id.y;
    let position = extent.start + id.y;
    var at = elements(part);
    var low: vec2<f32>;
    var high: vec2<f32>;
    if (head < HEADS) {
        at += (token * HEADS + head) * HEAD_DIM;
        low = vec2<f32>(results[at.x], results[at.x + 1u]);
        high = vec2<f32>(results[at.y], results[at.y + 1u]);
    } else if (head < HEADS + KV_HEADS) {
        at += (token * KV_HEADS + head - HEADS) * HEAD_DIM;
        low = vec2<f32>(k[at.x], k[at.x + 1u]);
        high = vec2<f32>(k[at.y], k[at.y + 1u]);
    } else {
        let from_row = (token * KV_HEADS + head - HEADS - KV_HEADS) * HEAD_DIM + part * 4u;
        low = vec2<f32>(v[from_row], v[from_row + 1u]);
        high = vec2<f32>(v[from_row + 2u], v[from_row + 3u]);
    }
    store_four(head, part, token, position, low, high);
}
