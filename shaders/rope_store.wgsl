// Rotates queries in place and writes rotated keys and plain values to the cache. A thread has four
// values of a head: two neighbouring pairs, or four that pass through.
#include shared/extent.wgsl
#include shared/exact.wgsl
#include shared/cache.wgsl
#include shared/rotate.wgsl
@group(0) @binding(2) var<storage, read_write> q: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read> v: array<f32>;
// Cosine and sine of each pair at each position.
@group(0) @binding(5) var<storage, read> rotations: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> values: array<u32>;
override DIMS: u32;

fn store_key(at: u32, value: vec2<f32>) {
#if F16
    keys[at / 2u] = pack2x16float(value);
#else
    keys[at] = bitcast<u32>(value.x);
    keys[at + 1u] = bitcast<u32>(value.y);
#endif
}

fn store_value(at: u32, value: vec2<f32>) {
#if F16
    values[at / 2u] = pack2x16float(value);
#else
    values[at] = bitcast<u32>(value.x);
    values[at + 1u] = bitcast<u32>(value.y);
#endif
}

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
    let row = position * KV_HEADS * HEAD_DIM;
    if (head >= HEADS + KV_HEADS) {
        let at = (head - HEADS - KV_HEADS) * HEAD_DIM + part * 4u;
        let from_row = token * KV_HEADS * HEAD_DIM + at;
        store_value(row + at, vec2<f32>(v[from_row], v[from_row + 1u]));
        store_value(row + at + 2u, vec2<f32>(v[from_row + 2u], v[from_row + 3u]));
        return;
    }
    // Elements a, a + 1 and b, b + 1 of the head.
    var a = part * 4u;
    var b = a + 2u;
    let rotated = part < DIMS / 4u;
#if HALVES
    if (rotated) {
        a = part * 2u;
        b = a + DIMS / 2u;
    }
#endif
    let is_query = head < HEADS;
    let kv_head = select(head - HEADS, 0u, is_query);
    let from_row = select(token * KV_HEADS * HEAD_DIM + kv_head * HEAD_DIM, (token * HEADS + head) * HEAD_DIM, is_query);
    var low: vec2<f32>;
    var high: vec2<f32>;
    if (is_query) {
        low = vec2<f32>(q[from_row + a], q[from_row + a + 1u]);
        high = vec2<f32>(q[from_row + b], q[from_row + b + 1u]);
    } else {
        low = vec2<f32>(k[from_row + a], k[from_row + a + 1u]);
        high = vec2<f32>(k[from_row + b], k[from_row + b + 1u]);
    }
    if (rotated) {
        let first = rotations[position * (DIMS / 2u) + part * 2u];
        let second = rotations[position * (DIMS / 2u) + part * 2u + 1u];
#if HALVES
        let one = rotate(vec2<f32>(low.x, high.x), first);
        let two = rotate(vec2<f32>(low.y, high.y), second);
        low = vec2<f32>(one.x, two.x);
        high = vec2<f32>(one.y, two.y);
#else
        low = rotate(low, first);
        high = rotate(high, second);
#endif
    }
    if (is_query) {
#if F16
        // Queries meet keys as binary16.
        low = vec2<f32>(round_f16(low.x), round_f16(low.y));
        high = vec2<f32>(round_f16(high.x), round_f16(high.y));
#endif
        q[from_row + a] = low.x;
        q[from_row + a + 1u] = low.y;
        q[from_row + b] = high.x;
        q[from_row + b + 1u] = high.y;
    } else {
        store_key(row + kv_head * HEAD_DIM + a, low);
        store_key(row + kv_head * HEAD_DIM + b, high);
    }
}
