// One span of 256 keys of ${TOGETHER} query heads, which share them: maximum, sum of weights,
// weighted values. Spans are counted from position 0, so that a result does not depend on how a
// prompt was cut. Where weights are rounded to binary16 they must be known whole first: one
// dispatch (TOTALS) leaves maxima and sums, the next (ROUNDED) weights the values.
#include shared/extent.wgsl
#include shared/exact.wgsl
#include shared/cache.wgsl
#include shared/reduce.wgsl
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
var<workgroup> query: array<vec4<f32>, 64u * ${TOGETHER}u>;
var<workgroup> weights: array<f32, 256u * ${TOGETHER}u>;
var<workgroup> partial: array<vec2<f32>, 256>;

// The chain of one vector of a key.
fn add_vector(start: f32, key: vec4<u32>, head: u32, vector: u32) -> f32 {
    let at = head * 64u + vector * PER_CACHE_WORD;
    let a = query[at];
#if HALF_CACHE
    let b = query[at + 1u];
    let k0 = unpack2x16float(key.x);
    let k1 = unpack2x16float(key.y);
    let k2 = unpack2x16float(key.z);
    let k3 = unpack2x16float(key.w);
    let low = fma(a.w, k1.y, fma(a.z, k1.x, fma(a.y, k0.y, fma(a.x, k0.x, start))));
    return fma(b.w, k3.y, fma(b.z, k3.x, fma(b.y, k2.y, fma(b.x, k2.x, low))));
#else
    let k = bitcast<vec4<f32>>(key);
    return fma(a.w, k.w, fma(a.z, k.z, fma(a.y, k.y, fma(a.x, k.x, start))));
#endif
}

fn add_value(sum: vec2<f32>, weight: f32, packed: u32) -> vec2<f32> {
#if HALF_CACHE
    return fma(vec2<f32>(weight), unpack2x16float(packed), sum);
#else
    return vec2<f32>(fma(weight, bitcast<f32>(packed), sum.x), 0.0);
#endif
}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let first_head = group.x * ${TOGETHER}u;
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
    for (var i = thread; i < q_words * ${TOGETHER}u; i += 256u) {
        let at = ((extent.first_row + token) * HEADS + first_head) * q_words + i;
        query[i / q_words * 64u + i % q_words] = q[at];
    }
    workgroupBarrier();
    var scores: array<f32, ${TOGETHER}>;
    let visible = thread >= hidden && thread < size;
    for (var h = 0u; h < ${TOGETHER}u; h += 1u) {
        scores[h] = -3.0e38;
    }
    if (visible) {
        let words = HEAD_DIM / (4u * PER_CACHE_WORD);
        let row = ((first + thread) * KV_HEADS + kv_head) * words;
        var sums: array<f32, ${TOGETHER}>;
        // Several vectors at a time, so that their loads overlap.
        for (var i = 0u; i < words; i += ${LOADS}u) {
            var vectors: array<vec4<u32>, ${LOADS}>;
            for (var j = 0u; j < ${LOADS}u; j += 1u) {
                vectors[j] = keys[row + min(i + j, words - 1u)];
            }
            for (var j = 0u; j < ${LOADS}u; j += 1u) {
                if (i + j < words) {
                    for (var h = 0u; h < ${TOGETHER}u; h += 1u) {
                        sums[h] = add_vector(sums[h], vectors[j], h, i + j);
                    }
                }
            }
        }
        // The weight of a NaN is NaN, and so is the sum of weights.
        for (var h = 0u; h < ${TOGETHER}u; h += 1u) {
            scores[h] = finite_or_nan(sums[h] * SCALE);
        }
    }
#if TOTALS
#else
    var totals: array<f32, ${TOGETHER}>;
#endif
    let stride = HEAD_DIM + 2u;
    for (var h = 0u; h < ${TOGETHER}u; h += 1u) {
        let spans_at = (token * HEADS + first_head + h) * extent.spans * stride;
        let at = spans_at + span * stride;
        let score = scores[h];
#if ROUNDED
        var largest = spans[spans_at + HEAD_DIM];
        var total = spans[spans_at + HEAD_DIM + 1u];
        for (var i = 1u; i < (count + 255u) / 256u; i += 1u) {
            let other = spans_at + i * stride + HEAD_DIM;
            let next = max(largest, spans[other]);
            total = fma(total, exp_f32(largest - next), spans[other + 1u] * exp_f32(spans[other] - next));
            largest = next;
        }
        let exact = exp_f32(score - largest) * divide(1.0, total);
        let weight = select(0.0, round_f16(exact), visible);
#else
        let largest = workgroup_max(score, thread);
        let weight = select(0.0, exp_f32(score - largest), visible);
        let total = workgroup_sum(weight, thread);
        if (thread == 0u) {
            spans[at + HEAD_DIM] = largest;
            spans[at + HEAD_DIM + 1u] = total;
        }
#endif
#if TOTALS
#else
        totals[h] = total;
        weights[h * 256u + thread] = weight;
#endif
    }
#if TOTALS
#else
    workgroupBarrier();
    // Threads share the keys: part p takes keys p, p + parts, ...; parts are added in order.
    let words = HEAD_DIM / PER_CACHE_WORD;
    let parts = 256u / words;
    let part = thread / words;
    let word = thread % words;
    var sums: array<vec2<f32>, ${TOGETHER}>;
    if (part < parts) {
        let column = kv_head * words + word;
        let row = KV_HEADS * words;
        // Several keys at a time, so that their loads overlap. Keys past the end weigh nothing.
        for (var i = part; i < size; i += ${VALUES}u * parts) {
            var packed: array<u32, ${VALUES}>;
            for (var j = 0u; j < ${VALUES}u; j += 1u) {
                packed[j] = values[(first + min(i + j * parts, size - 1u)) * row + column];
            }
            for (var j = 0u; j < ${VALUES}u; j += 1u) {
                let key = i + j * parts;
                if (key < size) {
                    for (var h = 0u; h < ${TOGETHER}u; h += 1u) {
                        sums[h] = add_value(sums[h], weights[h * 256u + key], packed[j]);
                    }
                }
            }
        }
    }
    // One span is all there is: no merge follows.
    let alone = extent.spans == 1u;
    for (var h = 0u; h < ${TOGETHER}u; h += 1u) {
        workgroupBarrier();
        partial[thread] = sums[h];
        workgroupBarrier();
        if (thread < words) {
            var sum = partial[thread];
            for (var i = 1u; i < parts; i += 1u) {
                sum += partial[i * words + thread];
            }
#if ROUNDED
            let result = sum;
#else
            let result = vec2<f32>(divide(sum.x, totals[h]), divide(sum.y, totals[h]));
#endif
            let to = ((extent.first_row + token) * HEADS + first_head + h) * HEAD_DIM;
            let at = ((token * HEADS + first_head + h) * extent.spans + span) * stride;
#if HALF_CACHE
            if (alone) {
                results[to + thread * 2u] = result.x;
                results[to + thread * 2u + 1u] = result.y;
            } else {
                spans[at + thread * 2u] = sum.x;
                spans[at + thread * 2u + 1u] = sum.y;
            }
#else
            if (alone) {
                results[to + thread] = result.x;
            } else {
                spans[at + thread] = sum.x;
            }
#endif
        }
    }
#endif
}
