// Ternary weights against i8 activations of many tokens: tiles of 64 rows by
// 64 tokens, 128 weights deep, unpacked once into workgroup memory. A thread has 4 rows
// by 4 tokens. Integer sums are those of the gemv.
// What one dispatch of a pass covers. Rewritten before each pass.
struct Extent {
    // Rows of activations: tokens, or selected tokens.
    rows: u32,
    // The first row of a segment in the batch.
    first_row: u32,
    // The position of that row in its sequence.
    start: u32,
    // Spans of keys that the longest row of the dispatch sees; where the best logits are searched,
    // how many are wanted.
    spans: u32,
    // Where the ids of the tokens begin among the inputs, or the selected rows.
    inputs: u32,
}
@group(0) @binding(0) var<uniform> extent: Extent;
// A matrix may lie in several buffers; this is one of them. Of matrices that lie together, each has
// its own scale and factor: the even rows of a gate interleaved with its factor and the odd ones,
// or up to four matrices one after another.
struct Piece {
    first_row: u32,
    rows: u32,
    scales: vec4<f32>,
    factors: vec4<f32>,
}
@group(0) @binding(1) var<uniform> piece: Piece;
// Where the matrices behind the first begin; behind all rows where there are fewer.
override SECOND: u32;
override THIRD: u32;
override FOURTH: u32;

// The matrix that a row of the piece belongs to.
fn matrix_of(row: u32) -> u32 {
    let at = piece.first_row + row;
    return u32(at >= SECOND) + u32(at >= THIRD) + u32(at >= FOURTH);
}
// Arithmetic that must not differ from the CPU's where an integer is decided by it, and what
// becomes of values that are not finite (`kernels/src/order.rs`).

// Finite or not is told by the bits: WGSL lets a compiler take it for granted that floats are
// finite.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// WGSL has no constant that is not finite, so NaN is made at run time.
const NAN_BITS: u32 = 0x7fc00000u;
var<private> nan_bits: u32 = NAN_BITS;

fn finite_or_nan(x: f32) -> f32 {
    return select(bitcast<f32>(nan_bits), x, is_finite(x));
}

// The magnitude of a value, and the largest there is for one that is not finite: the larger of two
// would drop a NaN.
const LARGEST: f32 = 3.40282347e38;

fn magnitude(x: f32) -> f32 {
    return select(LARGEST, abs(x), is_finite(x));
}

// The first 12 bits of a value's 24.
fn high_half(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

// a - q * b, exact where q is near a / b, and also where a driver's fma rounds twice: products of
// halves fit into 24 bits, and so do the differences.
fn residual(a: f32, q: f32, b: f32) -> f32 {
    let qh = high_half(q);
    let ql = q - qh;
    let bh = high_half(b);
    let bl = b - bh;
    return a - qh * bh - qh * bl - ql * bh - ql * bl;
}

// a / b, rounded correctly also where the hardware's division is only near: one step of correction.
fn divide(a: f32, b: f32) -> f32 {
    let q = a / b;
    let better = q + residual(a, q, b) * (1.0 / b);
    return select(q, better, abs(better) < 3.0e38 && abs(q) > 1.0e-30);
}

// e^x as bitnet_kernels::oracle::exp: Cephes' expf with fused multiply-adds, clamped to [-87, 88];
// NaN stays NaN.
fn exp_f32(value: f32) -> f32 {
    let x = clamp(value, -87.0, 88.0);
    let n = round(x * 1.4426950408889634);
    var r = fma(n, -0.693359375, x);
    r = fma(n, 2.1219444e-4, r);
    var p = 1.9875691e-4;
    p = fma(p, r, 1.3981999e-3);
    p = fma(p, r, 8.333452e-3);
    p = fma(p, r, 4.1665796e-2);
    p = fma(p, r, 1.6666665e-1);
    p = fma(p, r, 5.0000001e-1);
    p = fma(p, r * r, r) + 1.0;
    return select(p * bitcast<f32>(u32(i32(n) + 127) << 23u), value, is_nan(value));
}

// x rounded to binary16, ties to even; infinite from 65520 on. Some drivers take a round trip
// through pack2x16float for nothing.
fn round_f16(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    let normal = bitcast<f32>((bits + 0xfffu + ((bits >> 13u) & 1u)) & 0xffffe000u);
    // Below 2^-14 the step is 2^-24, that of f32 between 0.5 and 1.
    let small = bitcast<f32>(bitcast<u32>((abs(x) + 0.5) - 0.5) | (bits & 0x80000000u));
    let finite = select(normal, small, abs(x) < 6.103515625e-5);
    let infinite = bitcast<f32>((nan_bits & 0x7f800000u) | (bits & 0x80000000u));
    return select(select(finite, infinite, (bits & 0x7fffffffu) >= 0x477ff000u), x, is_nan(x));
}
// Four words of four i8 against four words of four i8.
fn dot16(a: vec4<u32>, b: vec4<u32>) -> i32 {
    return dot4I8Packed(a.x, b.x) + dot4I8Packed(a.y, b.y) + dot4I8Packed(a.z, b.z) + dot4I8Packed(a.w, b.w);
}

// The sixteen 2-bit codes of a word, as four words of bytes 0, 1, 2: word l holds the elements that
// lie 32 * l further on in the group of 128.
fn unpack_codes(word: u32) -> vec4<u32> {
    return (vec4<u32>(word) >> vec4<u32>(6u, 4u, 2u, 0u)) & vec4<u32>(0x03030303u);
}
@group(0) @binding(2) var<storage, read_write> results: array<f32>;

// What becomes of a product, by the factor of its matrix.
fn scaled(row: u32, value: f32) -> f32 {
    return finite_or_nan(value * piece.factors[matrix_of(row)]);
}

// Values in a row of the output.
override WIDTH: u32;
// The outputs of the matrices behind the first.
@group(0) @binding(9) var<storage, read_write> second: array<f32>;
@group(0) @binding(10) var<storage, read_write> third: array<f32>;

fn store(token: u32, row: u32, value: f32) {
    let at = piece.first_row + row;
    let result = scaled(row, value);
    switch matrix_of(row) {
        case 0u: {
            results[token * SECOND + at] = result;
        }
        case 1u: {
            second[token * (THIRD - SECOND) + at - SECOND] = result;
        }
        case 2u: {
            third[token * (FOURTH - THIRD) + at - THIRD] = result;
        }
        default: {}
    }
}
@group(0) @binding(3) var<storage, read> codes: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> x_scales: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> scales: array<f32>;
override COLS: u32;

// Threads of a tile beside one another, each with every ACROSS-th token.
const ACROSS: u32 = 64u / 4u;
// Words of codes in the tiles, sixteen weights each.
const DEPTH: u32 = 8u;
// Words of each tile that a thread brings.
const W_WORDS: u32 = DEPTH * 64u / 256u;
const X_WORDS: u32 = DEPTH * 64u / 256u;

var<workgroup> tile_w: array<vec4<u32>, DEPTH * 64u>;
var<workgroup> tile_x: array<vec4<u32>, DEPTH * 64u>;

// Where a word of a row or token lies in its tile: neither neighbouring words nor neighbouring rows
// share a bank of the memory.
fn at_w(word: u32, row: u32) -> u32 {
    return word * 64u + (row ^ word);
}

fn at_x(word: u32, token: u32) -> u32 {
    return word * 64u + (token ^ word);
}

fn dots(w0: vec4<u32>, w1: vec4<u32>, w2: vec4<u32>, w3: vec4<u32>, x: vec4<u32>) -> vec4<i32> {
    return vec4<i32>(dot16(w0, x), dot16(w1, x), dot16(w2, x), dot16(w3, x));
}

fn add_block(row: u32, token: u32, block: u32, sum: vec4<i32>, value: vec4<f32>) -> vec4<f32> {
    let blocks = COLS / 256u;
    let encoding = x_scales[min(token, extent.rows - 1u) * blocks + block];
    let integers = vec4<f32>(sum - vec4<i32>(bitcast<i32>(encoding.y)));
    let rows = min(vec4<u32>(row, row + 1u, row + 2u, row + 3u), vec4<u32>(piece.rows - 1u)) * blocks + block;
    let scale = vec4<f32>(scales[rows.x], scales[rows.y], scales[rows.z], scales[rows.w]) * bitcast<f32>(encoding.x);
    return fma(scale, integers, value);
}

fn store_rows(token: u32, row: u32, value: vec4<f32>) {
    if (token >= extent.rows) {
        return;
    }
    for (var i = 0u; i < 4u; i += 1u) {
        if (row + i < piece.rows) {
            store(token, row + i, value[i]);
        }
    }
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let tile_row = group.x * 64u;
    let tile_token = group.y * 64u;
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
    var v0 = vec4<f32>();
    var v1 = vec4<f32>();
    var v2 = vec4<f32>();
    var v3 = vec4<f32>();
    // What a thread brings to the tiles is under way while the tiles before are multiplied.
    var next_w: array<u32, W_WORDS>;
    var next_x: array<vec4<u32>, X_WORDS>;
    for (var first = 0u; first < words + DEPTH; first += DEPTH) {
        if (first > 0u) {
            workgroupBarrier();
            for (var i = 0u; i < W_WORDS; i += 1u) {
                let item = thread + i * 256u;
                tile_w[at_w(item % DEPTH, item / DEPTH)] = unpack_codes(next_w[i]);
            }
            for (var i = 0u; i < X_WORDS; i += 1u) {
                let item = thread + i * 256u;
                tile_x[at_x(item % DEPTH, item / DEPTH)] = next_x[i];
            }
            workgroupBarrier();
        }
        if (first < words) {
            for (var i = 0u; i < W_WORDS; i += 1u) {
                let item = thread + i * 256u;
                let own = min(tile_row + item / DEPTH, piece.rows - 1u);
                next_w[i] = codes[own * words + first + item % DEPTH];
            }
            for (var i = 0u; i < X_WORDS; i += 1u) {
                let item = thread + i * 256u;
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
        }
    }
    store_rows(token, tile_row + row, v0);
    store_rows(token + ACROSS, tile_row + row, v1);
    store_rows(token + 2u * ACROSS, tile_row + row, v2);
    store_rows(token + 3u * ACROSS, tile_row + row, v3);
}
