// Rotated queries to `results`, rotated keys and plain values to the cache.
#include shared/cache.wgsl
#include shared/rotate.wgsl
// Cosine and sine of each pair at each position.
@group(0) @binding(9) var<storage, read> rotations: array<vec2<f32>>;
@group(0) @binding(10) var<storage, read_write> keys: array<u32>;
@group(0) @binding(11) var<storage, read_write> values: array<u32>;
override DIMS: u32;

fn store_key(at: u32, value: vec2<f32>) {
#if HALF_CACHE
    keys[at / 2u] = pack2x16float(value);
#else
    keys[at] = bitcast<u32>(value.x);
    keys[at + 1u] = bitcast<u32>(value.y);
#endif
}

fn store_value(at: u32, value: vec2<f32>) {
#if HALF_CACHE
    values[at / 2u] = pack2x16float(value);
#else
    values[at] = bitcast<u32>(value.x);
    values[at + 1u] = bitcast<u32>(value.y);
#endif
}

// The elements a, a + 1 and b, b + 1 that part `part` of a head has: two neighbouring pairs, or
// four that pass through.
fn elements(part: u32) -> vec2<u32> {
#if HALVES
    if (part < DIMS / 4u) {
        return vec2<u32>(part * 2u, part * 2u + DIMS / 2u);
    }
#endif
    return vec2<u32>(part * 4u, part * 4u + 2u);
}

// Four values of a head of a token: queries come first, then keys, then values, whose four are
// neighbours.
fn store_four(head: u32, part: u32, token: u32, position: u32, first: vec2<f32>, second: vec2<f32>) {
    let row = position * KV_HEADS * HEAD_DIM;
    if (head >= HEADS + KV_HEADS) {
        let at = row + (head - HEADS - KV_HEADS) * HEAD_DIM + part * 4u;
        store_value(at, first);
        store_value(at + 2u, second);
        return;
    }
    let at = elements(part);
    var low = first;
    var high = second;
    if (part < DIMS / 4u) {
        let one = rotations[position * (DIMS / 2u) + part * 2u];
        let two = rotations[position * (DIMS / 2u) + part * 2u + 1u];
#if HALVES
        let x = rotate(vec2<f32>(low.x, high.x), one);
        let y = rotate(vec2<f32>(low.y, high.y), two);
        low = vec2<f32>(x.x, y.x);
        high = vec2<f32>(x.y, y.y);
#else
        low = rotate(low, one);
        high = rotate(high, two);
#endif
    }
    if (head < HEADS) {
#if HALF_CACHE
        // Queries meet keys as binary16.
        low = vec2<f32>(round_f16(low.x), round_f16(low.y));
        high = vec2<f32>(round_f16(high.x), round_f16(high.y));
#endif
        let to = (token * HEADS + head) * HEAD_DIM;
        results[to + at.x] = low.x;
        results[to + at.x + 1u] = low.y;
        results[to + at.y] = high.x;
        results[to + at.y + 1u] = high.y;
    } else {
        let to = row + (head - HEADS) * HEAD_DIM;
        store_key(to + at.x, low);
        store_key(to + at.y, high);
    }
}
