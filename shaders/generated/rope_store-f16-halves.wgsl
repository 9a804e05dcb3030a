// Rotates queries in place and writes rotated keys and plain values to the cache. A thread has four
// values of a head.
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
@group(0) @binding(2) var<storage, read_write> results: array<f32>;
@group(0) @binding(3) var<storage, read> k: array<f32>;
@group(0) @binding(4) var<storage, read> v: array<f32>;
// Rotated queries to `results`, rotated keys and plain values to the cache.
// Keys or values of a cache row, two of binary16 to a word.
const PER_CACHE_WORD: u32 = 2u;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
// A pair of elements, rotated by the angle of a cosine and a sine.
fn rotate(pair: vec2<f32>, cos_sin: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(fma(pair.x, cos_sin.x, -(pair.y * cos_sin.y)), fma(pair.y, cos_sin.x, pair.x * cos_sin.y));
}
// Cosine and sine of each pair at each position.
@group(0) @binding(9) var<storage, read> rotations: array<vec2<f32>>;
@group(0) @binding(10) var<storage, read_write> keys: array<u32>;
@group(0) @binding(11) var<storage, read_write> values: array<u32>;
override DIMS: u32;

fn store_key(at: u32, value: vec2<f32>) {
    keys[at / 2u] = pack2x16float(value);
}

fn store_value(at: u32, value: vec2<f32>) {
    values[at / 2u] = pack2x16float(value);
}

// The elements a, a + 1 and b, b + 1 that part `part` of a head has: two neighbouring pairs, or
// four that pass through.
fn elements(part: u32) -> vec2<u32> {
    if (part < DIMS / 4u) {
        return vec2<u32>(part * 2u, part * 2u + DIMS / 2u);
    }
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
        let x = rotate(vec2<f32>(low.x, high.x), one);
        let y = rotate(vec2<f32>(low.y, high.y), two);
        low = vec2<f32>(x.x, y.x);
        high = vec2<f32>(x.y, y.y);
    }
    if (head < HEADS) {
        // Queries meet keys as binary16.
        low = vec2<f32>(round_f16(low.x), round_f16(low.y));
        high = vec2<f32>(round_f16(high.x), round_f16(high.y));
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
