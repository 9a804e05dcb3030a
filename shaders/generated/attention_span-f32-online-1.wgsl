// One span of 256 keys of 1 query heads, which share them: maximum, sum of weights,
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
// Keys or values of a cache row, one of binary32 to a word.
const PER_CACHE_WORD: u32 = 1u;
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
var<workgroup> query: array<vec4<f32>, 64u * 1u>;
var<workgroup> weights: array<f32, 256u * 1u>;
var<workgroup> partial: array<vec2<f32>, 256>;

// The chain of one vector of a key.
fn add_vector(start: f32, key: vec4<u32>, head: u32, vector: u32) -> f32 {
    let at = head * 64u + vector * PER_CACHE_WORD;
    let a = query[at];
    let k = bitcast<vec4<f32>>(key);
    return fma(a.w, k.w, fma(a.z, k.z, fma(a.y, k.y, fma(a.x, k.x, start))));
}

fn add_value(sum: vec2<f32>, weight: f32, packed: u32) -> vec2<f32> {
    return vec2<f32>(fma(weight, bitcast<f32>(packed), sum.x), 0.0);
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let first_head = group.x * 1u;
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
    for (var i = thread; i < q_words * 1u; i += 256u) {
        let at = ((extent.first_row + token) * HEADS + first_head) * q_words + i;
        query[i / q_words * 64u + i % q_words] = q[at];
    }
    workgroupBarrier();
    var scores: array<f32, 1>;
    let visible = thread >= hidden && thread < size;
    for (var h = 0u; h < 1u; h += 1u) {
        scores[h] = -3.0e38;
    }
    if (visible) {
        let words = HEAD_DIM / (4u * PER_CACHE_WORD);
        let row = ((first + thread) * KV_HEADS + kv_head) * words;
        var sums: array<f32, 1>;
        // Several vectors at a time, so that their loads overlap.
        for (var i = 0u; i < words; i += 8u) {
            var vectors: array<vec4<u32>, 8>;
            for (var j = 0u; j < 8u; j += 1u) {
                vectors[j] = keys[row + min(i + j, words - 1u)];
            }
            for (var j = 0u; j < 8u; j += 1u) {
                if (i + j < words) {
                    for (var h = 0u; h < 1u; h += 1u) {
                        sums[h] = add_vector(sums[h], vectors[j], h, i + j);
                    }
                }
            }
        }
        // The weight of a NaN is NaN, and so is the sum of weights.
        for (var h = 0u; h < 1u; h += 1u) {
            scores[h] = finite_or_nan(sums[h] * SCALE);
        }
    }
    var totals: array<f32, 1>;
    let stride = HEAD_DIM + 2u;
    for (var h = 0u; h < 1u; h += 1u) {
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
        totals[h] = total;
        weights[h * 256u + thread] = weight;
    }
    workgroupBarrier();
    // Threads share the keys: part p takes keys p, p + parts, ...; parts are added in order.
    let words = HEAD_DIM / PER_CACHE_WORD;
    let parts = 256u / words;
    let part = thread / words;
    let word = thread % words;
    var sums: array<vec2<f32>, 1>;
    if (part < parts) {
        let column = kv_head * words + word;
        let row = KV_HEADS * words;
        // Several keys at a time, so that their loads overlap. Keys past the end weigh nothing.
        for (var i = part; i < size; i += 16u * parts) {
            var packed: array<u32, 16>;
            for (var j = 0u; j < 16u; j += 1u) {
                packed[j] = values[(first + min(i + j * parts, size - 1u)) * row + column];
            }
            for (var j = 0u; j < 16u; j += 1u) {
                let key = i + j * parts;
                if (key < size) {
                    for (var h = 0u; h < 1u; h += 1u) {
                        sums[h] = add_value(sums[h], weights[h * 256u + key], packed[j]);
                    }
                }
            }
        }
    }
    // One span is all there is: no merge follows.
    let alone = extent.spans == 1u;
    for (var h = 0u; h < 1u; h += 1u) {
        workgroupBarrier();
        partial[thread] = sums[h];
        workgroupBarrier();
        if (thread < words) {
            var sum = partial[thread];
            for (var i = 1u; i < parts; i += 1u) {
                sum += partial[i * words + thread];
            }
            let result = vec2<f32>(divide(sum.x, totals[h]), divide(sum.y, totals[h]));
            let to = ((extent.first_row + token) * HEADS + first_head + h) * HEAD_DIM;
            let at = ((token * HEADS + first_head + h) * extent.spans + span) * stride;
            if (alone) {
                results[to + thread] = result.x;
            } else {
                spans[at + thread] = sum.x;
            }
        }
    }
}
