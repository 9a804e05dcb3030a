// Ternary weights against i8 activations of many tokens: tiles of ${TILE_ROWS} rows by
// ${TILE_TOKENS} tokens, 128 weights deep, unpacked once into workgroup memory. A thread has 4 rows
// by 4 tokens. Integer sums are those of the gemv.
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

// Threads of a tile beside one another, each with every ACROSS-th token.
const ACROSS: u32 = ${TILE_TOKENS}u / 4u;
// Words of codes in the tiles, sixteen weights each.
const DEPTH: u32 = 8u;
// Words of each tile that a thread brings.
const W_WORDS: u32 = DEPTH * ${TILE_ROWS}u / ${THREADS}u;
const X_WORDS: u32 = DEPTH * ${TILE_TOKENS}u / ${THREADS}u;

var<workgroup> tile_w: array<vec4<u32>, DEPTH * ${TILE_ROWS}u>;
var<workgroup> tile_x: array<vec4<u32>, DEPTH * ${TILE_TOKENS}u>;

// Where a word of a row or token lies in its tile: neither neighbouring words nor neighbouring rows
// share a bank of the memory.
fn at_w(word: u32, row: u32) -> u32 {
    return word * ${TILE_ROWS}u + (row ^ word);
}

fn at_x(word: u32, token: u32) -> u32 {
    return word * ${TILE_TOKENS}u + (token ^ word);
}

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

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let tile_row = group.x * ${TILE_ROWS}u;
    let tile_token = group.y * ${TILE_TOKENS}u;
    let row = thread / ACROSS * 4u;
    let across = thread % ACROSS;
    // The first of the thread's tokens.
    let token = tile_token + across;
    let words = COLS / 16u;
    // Of each token of the thread. Names and no array: where a compiler does not unroll a loop over
    // one, it keeps it in memory, and a product takes almost twice as long.
    var s0 = vec4<i32>();
    var s1 = vec4<i32>();
    var s2 = vec4<i32>();
    var s3 = vec4<i32>();
#if SCALED_TRITS
    var v0 = vec4<f32>();
    var v1 = vec4<f32>();
    var v2 = vec4<f32>();
    var v3 = vec4<f32>();
#endif
    // What a thread brings to the tiles is under way while the tiles before are multiplied.
    var next_w: array<u32, W_WORDS>;
    var next_x: array<vec4<u32>, X_WORDS>;
    for (var first = 0u; first < words + DEPTH; first += DEPTH) {
        if (first > 0u) {
            workgroupBarrier();
            for (var i = 0u; i < W_WORDS; i += 1u) {
                let item = thread + i * ${THREADS}u;
                tile_w[at_w(item % DEPTH, item / DEPTH)] = unpack_codes(next_w[i]);
            }
            for (var i = 0u; i < X_WORDS; i += 1u) {
                let item = thread + i * ${THREADS}u;
                tile_x[at_x(item % DEPTH, item / DEPTH)] = next_x[i];
            }
            workgroupBarrier();
        }
        if (first < words) {
            for (var i = 0u; i < W_WORDS; i += 1u) {
                let item = thread + i * ${THREADS}u;
                let own = min(tile_row + item / DEPTH, piece.rows - 1u);
                next_w[i] = codes[own * words + first + item % DEPTH];
            }
            for (var i = 0u; i < X_WORDS; i += 1u) {
                let item = thread + i * ${THREADS}u;
                let own = min(tile_token + item / DEPTH, extent.rows - 1u);
                next_x[i] = x[own * words + first + item % DEPTH];
            }
        }
        if (first > 0u) {
            for (var m = 0u; m < DEPTH; m += 1u) {
                let w0 = tile_w[at_w(m, row)];
                let w1 = tile_w[at_w(m, row + 1u)];
                let w2 = tile_w[at_w(m, row + 2u)];
                let w3 = tile_w[at_w(m, row + 3u)];
                s0 += dots(w0, w1, w2, w3, tile_x[at_x(m, across)]);
                s1 += dots(w0, w1, w2, w3, tile_x[at_x(m, ACROSS + across)]);
                s2 += dots(w0, w1, w2, w3, tile_x[at_x(m, 2u * ACROSS + across)]);
                s3 += dots(w0, w1, w2, w3, tile_x[at_x(m, 3u * ACROSS + across)]);
            }
#if SCALED_TRITS
            if (first % 16u == 0u) {
                let block = first / 16u - 1u;
                v0 = add_block(tile_row + row, token, block, s0, v0);
                v1 = add_block(tile_row + row, token + ACROSS, block, s1, v1);
                v2 = add_block(tile_row + row, token + 2u * ACROSS, block, s2, v2);
                v3 = add_block(tile_row + row, token + 3u * ACROSS, block, s3, v3);
                s0 = vec4<i32>();
                s1 = vec4<i32>();
                s2 = vec4<i32>();
                s3 = vec4<i32>();
            }
#endif
        }
    }
#if SCALED_TRITS
    store_rows(token, tile_row + row, v0);
    store_rows(token + ACROSS, tile_row + row, v1);
    store_rows(token + 2u * ACROSS, tile_row + row, v2);
    store_rows(token + 3u * ACROSS, tile_row + row, v3);
#else
    store_rows(token, tile_row + row, finish(token, tile_row + row, s0));
    store_rows(token + ACROSS, tile_row + row, finish(token + ACROSS, tile_row + row, s1));
    store_rows(token + 2u * ACROSS, tile_row + row, finish(token + 2u * ACROSS, tile_row + row, s2));
    store_rows(token + 3u * ACROSS, tile_row + row, finish(token + 3u * ACROSS, tile_row + row, s3));
#endif
}
