// Ternary weights against i8 activations of many tokens: tiles of 64 rows by 64 tokens, 128 weights
// deep, unpacked once into workgroup memory. A thread has 4 rows by 4 tokens. Integer sums are
// those of the gemv.
#include shared/extent.wgsl
#include shared/piece.wgsl
#include shared/exact.wgsl
#include shared/dot.wgsl
#include shared/store.wgsl
@group(0) @binding(3) var<storage, read> codes: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> x_scales: array<vec2<u32>>;
#if SCALED_TRITS
@group(0) @binding(6) var<storage, read> scales: array<f32>;
#endif
override COLS: u32;

// [word of the group][row or token of the tile]: neighbouring threads read neighbouring words.
var<workgroup> tile_w: array<vec4<u32>, 512>;
var<workgroup> tile_x: array<vec4<u32>, 512>;

fn dots(w0: vec4<u32>, w1: vec4<u32>, w2: vec4<u32>, w3: vec4<u32>, x: vec4<u32>) -> vec4<i32> {
    return vec4<i32>(dot16(w0, x), dot16(w1, x), dot16(w2, x), dot16(w3, x));
}

#if SCALED_TRITS
fn add_block(row: u32, token: u32, block: u32, sum: vec4<i32>, value: vec4<f32>) -> vec4<f32> {
    let blocks = COLS / 256u;
    let encoding = x_scales[min(token, extent.rows - 1u) * blocks + block];
    let integers = vec4<f32>(sum - vec4<i32>(bitcast<i32>(encoding.y)));
    let rows = min(vec4<u32>(row, row + 1u, row + 2u, row + 3u), vec4<u32>(piece.rows - 1u)) * blocks + block;
    let scale = vec4<f32>(scales[rows.x], scales[rows.y], scales[rows.z], scales[rows.w]) * bitcast<f32>(encoding.x);
    return fma(scale, integers, value);
}
#else
fn scale_of(row: u32) -> f32 {
    return piece.scales[matrix_of(row)];
}

fn finish(token: u32, row: u32, sum: vec4<i32>) -> vec4<f32> {
    let encoding = x_scales[min(token, extent.rows - 1u)];
    let integers = vec4<f32>(sum - vec4<i32>(bitcast<i32>(encoding.y)));
    let scale = bitcast<f32>(encoding.x);
    return vec4<f32>(divide(integers.x, scale), divide(integers.y, scale), divide(integers.z, scale), divide(integers.w, scale))
        * vec4<f32>(scale_of(row), scale_of(row + 1u), scale_of(row + 2u), scale_of(row + 3u));
}
#endif

fn store_rows(token: u32, row: u32, value: vec4<f32>) {
    if (token >= extent.rows) {
        return;
    }
#if GATED
    if (row < piece.rows) {
        store_pair(token, row, value.x, value.y);
    }
    if (row + 2u < piece.rows) {
        store_pair(token, row + 2u, value.z, value.w);
    }
#else
    for (var i = 0u; i < 4u; i += 1u) {
        if (row + i < piece.rows) {
            store(token, row + i, value[i]);
        }
    }
#endif
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let tile_row = group.x * 64u;
    let tile_token = group.y * 64u;
    let row = thread / 16u * 4u;
    let token = thread % 16u;
    // Each thread fills two words of each tile: word (thread % 8) of items (thread / 8) and 32
    // further on.
    let word = thread % 8u;
    let item = thread / 8u;
    let weights = COLS / 16u;
    let w_a = min(tile_row + item, piece.rows - 1u) * weights + word;
    let w_b = min(tile_row + item + 32u, piece.rows - 1u) * weights + word;
    let x_a = min(tile_token + item, extent.rows - 1u) * weights + word;
    let x_b = min(tile_token + item + 32u, extent.rows - 1u) * weights + word;
    let at = word * 64u + item;
    var s0 = vec4<i32>(); var s1 = vec4<i32>(); var s2 = vec4<i32>(); var s3 = vec4<i32>();
#if SCALED_TRITS
    var v0 = vec4<f32>(); var v1 = vec4<f32>(); var v2 = vec4<f32>(); var v3 = vec4<f32>();
#endif
    let groups = COLS / 128u;
    for (var depth = 0u; depth < groups; depth += 1u) {
        let next_w_a = codes[w_a + depth * 8u];
        let next_w_b = codes[w_b + depth * 8u];
        let next_x_a = x[x_a + depth * 8u];
        let next_x_b = x[x_b + depth * 8u];
        workgroupBarrier();
        tile_w[at] = unpack_codes(next_w_a);
        tile_w[at + 32u] = unpack_codes(next_w_b);
        tile_x[at] = next_x_a;
        tile_x[at + 32u] = next_x_b;
        workgroupBarrier();
        for (var m = 0u; m < 512u; m += 64u) {
            let w0 = tile_w[m + row];
            let w1 = tile_w[m + row + 1u];
            let w2 = tile_w[m + row + 2u];
            let w3 = tile_w[m + row + 3u];
            s0 += dots(w0, w1, w2, w3, tile_x[m + token]);
            s1 += dots(w0, w1, w2, w3, tile_x[m + token + 16u]);
            s2 += dots(w0, w1, w2, w3, tile_x[m + token + 32u]);
            s3 += dots(w0, w1, w2, w3, tile_x[m + token + 48u]);
        }
#if SCALED_TRITS
        if (depth % 2u == 1u) {
            v0 = add_block(tile_row + row, tile_token + token, depth / 2u, s0, v0);
            v1 = add_block(tile_row + row, tile_token + token + 16u, depth / 2u, s1, v1);
            v2 = add_block(tile_row + row, tile_token + token + 32u, depth / 2u, s2, v2);
            v3 = add_block(tile_row + row, tile_token + token + 48u, depth / 2u, s3, v3);
            s0 = vec4<i32>(); s1 = vec4<i32>(); s2 = vec4<i32>(); s3 = vec4<i32>();
        }
#endif
    }
#if SCALED_TRITS
    store_rows(tile_token + token, tile_row + row, v0);
    store_rows(tile_token + token + 16u, tile_row + row, v1);
    store_rows(tile_token + token + 32u, tile_row + row, v2);
    store_rows(tile_token + token + 48u, tile_row + row, v3);
#else
    store_rows(tile_token + token, tile_row + row, finish(tile_token + token, tile_row + row, s0));
    store_rows(tile_token + token + 16u, tile_row + row, finish(tile_token + token + 16u, tile_row + row, s1));
    store_rows(tile_token + token + 32u, tile_row + row, finish(tile_token + token + 32u, tile_row + row, s2));
    store_rows(tile_token + token + 48u, tile_row + row, finish(tile_token + token + 48u, tile_row + row, s3));
#endif
}
