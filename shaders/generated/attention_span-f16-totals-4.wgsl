// One span of 256 keys of 4 query heads, which share them: maximum, sum of weights,
// weighted values. Spans are counted from position 0, so that a result does not depend on how a
// prompt was cut. Where weights are rounded to binary16 they must be known whole first: one
// dispatch (TOTALS) leaves maxima and sums, the next (ROUNDED) weights the values.
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
// Keys or values of a cache row, two of binary16 to a word.
const PER_CACHE_WORD: u32 = 2u;
override HEADS: u32;
override KV_HEADS: u32;
override HEAD_DIM: u32;
// Reductions over a workgroup of 256 threads; every thread gets the result.
var<workgroup> parts: array<f32, 256>;

fn workgroup_sum(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    parts[thread] = value;
    for (var half = 256u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            parts[thread] += parts[thread + half];
        }
    }
    workgroupBarrier();
    return parts[0];
}

fn workgroup_max(value: f32, thread: u32) -> f32 {
    workgroupBarrier();
    parts[thread] = value;
    for (var half = 256u / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            parts[thread] = max(parts[thread], parts[thread + half]);
        }
    }
    workgroupBarrier();
    return parts[0];
}
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> values: array<u32>;
// Per token, head and span: weighted values, maximum, sum.
@group(0) @binding(5) var<storage, read_write> spans: array<f32>;
@group(0) @binding(6) var<storage, read_write> results: array<f32>;
override SCALE: f32;
// Positions that a token sees, its own included.
override WINDOW: u32;

// Heads of up to 256 elements.
var<workgroup> query: array<vec4<f32>, 64u * 4u>;
var<workgroup> weights: array<f32, 256u * 4u>;
var<workgroup> partial: array<vec2<f32>, 256>;

// The chain of one vector of a key.
fn add_vector(start: f32, key: vec4<u32>, head: u32, vector: u32) -> f32 {
    let at = head * 64u + vector * PER_CACHE_WORD;
    let a = query[at];
    let b = query[at + 1u];
    let k0 = unpack2x16float(key.x);
    let k1 = unpack2x16float(key.y);
    let k2 = unpack2x16float(key.z);
    let k3 = unpack2x16float(key.w);
    let low = fma(a.w, k1.y, fma(a.z, k1.x, fma(a.y, k0.y, fma(a.x, k0.x, start))));
    return fma(b.w, k3.y, fma(b.z, k3.x, fma(b.y, k2.y, fma(b.x, k2.x, low))));
}

fn add_value(sum: vec2<f32>, weight: f32, packed: u32) -> vec2<f32> {
    return fma(vec2<f32>(weight), unpack2x16float(packed), sum);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let first_head = group.x * 4u;
    let span = group.y;
    let token = group.z;
    let count = extent.start + token + 1u;
    if (span * 256u >= count) {
        return;
    }
    let kv_head = first_head / (HEADS / KV_HEADS);
    let first = span * 256u;
    let size = min(256u, count - first);
    // The keys of this span before the window weigh nothing.
    let lowest = count - min(count, WINDOW);
    let hidden = lowest - min(lowest, first);
    let q_words = HEAD_DIM / 4u;
    for (var i = thread; i < q_words * 4u; i += 256u) {
        let at = ((extent.first_row + token) * HEADS + first_head) * q_words + i;
        query[i / q_words * 64u + i % q_words] = q[at];
    }
    workgroupBarrier();
    var scores: array<f32, 4>;
    let visible = thread >= hidden && thread < size;
    for (var h = 0u; h < 4u; h += 1u) {
        scores[h] = -3.0e38;
    }
    if (visible) {
        let words = HEAD_DIM / (4u * PER_CACHE_WORD);
        let row = ((first + thread) * KV_HEADS + kv_head) * words;
        var sums: array<f32, 4>;
        // Several vectors at a time, so that their loads overlap.
        for (var i = 0u; i < words; i += 4u) {
            var vectors: array<vec4<u32>, 4>;
            for (var j = 0u; j < 4u; j += 1u) {
                vectors[j] = keys[row + min(i + j, words - 1u)];
            }
            for (var j = 0u; j < 4u; j += 1u) {
                if (i + j < words) {
                    for (var h = 0u; h < 4u; h += 1u) {
                        sums[h] = add_vector(sums[h], vectors[j], h, i + j);
                    }
                }
            }
        }
        // The weight of a NaN is NaN, and so is the sum of weights.
        for (var h = 0u; h < 4u; h += 1u) {
            scores[h] = finite_or_nan(sums[h] * SCALE);
        }
    }
    let stride = HEAD_DIM + 2u;
    for (var h = 0u; h < 4u; h += 1u) {
        let spans_at = (token * HEADS + first_head + h) * extent.spans * stride;
        let at = spans_at + span * stride;
        let score = scores[h];
        let largest = workgroup_max(score, thread);
        let weight = select(0.0, exp_f32(score - largest), visible);
        let total = workgroup_sum(weight, thread);
        if (thread == 0u) {
            spans[at + HEAD_DIM] = largest;
            spans[at + HEAD_DIM + 1u] = total;
        }
    }
}
