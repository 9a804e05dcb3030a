// One span of 256 keys of one query head: maximum, sum of weights, weighted values. Spans are
// counted from position 0, so that a result does not depend on how a prompt was cut.  Where weights
// are rounded to binary16 they must be known whole first: one dispatch (TOTALS) leaves maxima and
// sums, the next (ROUNDED) weights the values.
#include shared/extent.wgsl
#include shared/exact.wgsl
#include shared/cache.wgsl
#include shared/reduce.wgsl
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> values: array<u32>;
// Per token, head and span: weighted values, maximum, sum.
@group(0) @binding(5) var<storage, read_write> spans: array<f32>;
@group(0) @binding(6) var<storage, read_write> results: array<f32>;
override SCALE: f32;
// Positions that a token sees, its own included.
override WINDOW: u32;

// Heads of up to 256 elements.
var<workgroup> query: array<f32, 256>;
var<workgroup> weights: array<f32, 256>;
var<workgroup> partial: array<vec2<f32>, 256>;

// The chain of one vector of a key.
fn add_vector(start: f32, key: vec4<u32>, vector: u32) -> f32 {
    var sum = start;
    let at = vector * 4u * PER_CACHE_WORD;
    for (var i = 0u; i < 4u; i += 1u) {
#if HALF_CACHE
        let pair = unpack2x16float(key[i]);
        sum = fma(query[at + i * 2u], pair.x, sum);
        sum = fma(query[at + i * 2u + 1u], pair.y, sum);
#else
        sum = fma(query[at + i], bitcast<f32>(key[i]), sum);
#endif
    }
    return sum;
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
    let head = group.x;
    let span = group.y;
    let token = group.z;
    let count = extent.start + token + 1u;
    if (span * 256u >= count) {
        return;
    }
    let kv_head = head / (HEADS / KV_HEADS);
    let first = span * 256u;
    let size = min(256u, count - first);
    // The keys of this span before the window weigh nothing.
    let lowest = count - min(count, WINDOW);
    let hidden = lowest - min(lowest, first);
    if (thread < HEAD_DIM) {
        query[thread] = q[((extent.first_row + token) * HEADS + head) * HEAD_DIM + thread];
    }
    workgroupBarrier();
    var score = -3.0e38;
    let visible = thread >= hidden && thread < size;
    if (visible) {
        let words = HEAD_DIM / (4u * PER_CACHE_WORD);
        let row = ((first + thread) * KV_HEADS + kv_head) * words;
        var sum = 0.0;
        // Four vectors at a time, so that their loads overlap.
        for (var i = 0u; i < words; i += 4u) {
            let a = keys[row + i];
            let b = keys[row + min(i + 1u, words - 1u)];
            let c = keys[row + min(i + 2u, words - 1u)];
            let d = keys[row + min(i + 3u, words - 1u)];
            sum = add_vector(sum, a, i);
            if (i + 1u < words) {
                sum = add_vector(sum, b, i + 1u);
            }
            if (i + 2u < words) {
                sum = add_vector(sum, c, i + 2u);
            }
            if (i + 3u < words) {
                sum = add_vector(sum, d, i + 3u);
            }
        }
        // The weight of a NaN is NaN, and so is the sum of weights.
        score = finite_or_nan(sum * SCALE);
    }
    let spans_at = (token * HEADS + head) * extent.spans * (HEAD_DIM + 2u);
    let at = spans_at + span * (HEAD_DIM + 2u);
#if ROUNDED
    var largest = spans[spans_at + HEAD_DIM];
    var total = spans[spans_at + HEAD_DIM + 1u];
    for (var i = 1u; i < (count + 255u) / 256u; i += 1u) {
        let other = spans_at + i * (HEAD_DIM + 2u) + HEAD_DIM;
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
    weights[thread] = weight;
    workgroupBarrier();
    // Threads share the keys: part p takes keys p, p + parts, ...; parts are added in order.
    let words = HEAD_DIM / PER_CACHE_WORD;
    let parts = 256u / words;
    let part = thread / words;
    let word = thread % words;
    var sum = vec2<f32>();
    if (part < parts) {
        let column = kv_head * words + word;
        let stride = KV_HEADS * words;
        // Eight keys at a time, so that their loads overlap. Keys past the end weigh nothing.
        for (var i = part; i < size; i += 8u * parts) {
            var packed: array<u32, 8>;
            for (var j = 0u; j < 8u; j += 1u) {
                packed[j] = values[(first + min(i + j * parts, size - 1u)) * stride + column];
            }
            for (var j = 0u; j < 8u; j += 1u) {
                let key = i + j * parts;
                if (key < size) {
                    sum = add_value(sum, weights[key], packed[j]);
                }
            }
        }
    }
    partial[thread] = sum;
    workgroupBarrier();
    if (thread < words) {
        for (var i = 1u; i < parts; i += 1u) {
            sum += partial[i * words + thread];
        }
        // One span is all there is: no merge follows.
        let alone = extent.spans == 1u;
#if ROUNDED
        let result = sum;
#else
        let result = vec2<f32>(divide(sum.x, total), divide(sum.y, total));
#endif
        let to = ((extent.first_row + token) * HEADS + head) * HEAD_DIM;
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
#endif
}
