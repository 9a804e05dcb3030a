// One span of 256 keys of one query head: maximum, sum of weights, weighted values. Spans are counted from position
// 0, so that a result does not depend on how a prompt was cut.
#include shared/work.wgsl
#include shared/exact.wgsl
#include shared/cache.wgsl
#include shared/reduce.wgsl
@group(0) @binding(2) var<storage, read> q: array<f32>;
@group(0) @binding(3) var<storage, read> keys: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> values: array<u32>;
// Per token, head and span: weighted values, maximum, sum.
@group(0) @binding(5) var<storage, read_write> spans: array<f32>;
override SCALE: f32;

// Heads of up to 256 elements.
var<workgroup> query: array<f32, 256>;
var<workgroup> weights: array<f32, 256>;
var<workgroup> partial: array<vec2<f32>, 256>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let head = group.x;
    let span = group.y;
    let token = group.z;
    let count = work.start + token + 1u;
    if (span * 256u >= count) {
        return;
    }
    let kv_head = head / (HEADS / KV_HEADS);
    let first = span * 256u;
    let size = min(256u, count - first);
    if (thread < HEAD_DIM) {
        let value = q[((work.first_row + token) * HEADS + head) * HEAD_DIM + thread];
#if F16
        query[thread] = unpack2x16float(pack2x16float(vec2<f32>(value, 0.0))).x;
#else
        query[thread] = value;
#endif
    }
    workgroupBarrier();
    var score = -3.0e38;
    if (thread < size) {
        let row = ((first + thread) * KV_HEADS + kv_head) * HEAD_DIM / (2u * PER_WORD);
        var sum = 0.0;
        for (var i = 0u; i < HEAD_DIM / (2u * PER_WORD); i += 1u) {
            let word = keys[row + i];
#if F16
            let low = unpack2x16float(word.x);
            let high = unpack2x16float(word.y);
            sum = fma(query[i * 4u], low.x, sum);
            sum = fma(query[i * 4u + 1u], low.y, sum);
            sum = fma(query[i * 4u + 2u], high.x, sum);
            sum = fma(query[i * 4u + 3u], high.y, sum);
#else
            sum = fma(query[i * 2u], bitcast<f32>(word.x), sum);
            sum = fma(query[i * 2u + 1u], bitcast<f32>(word.y), sum);
#endif
        }
        score = sum * SCALE;
    }
    let largest = workgroup_max(score, thread);
    let weight = select(0.0, exp_f32(score - largest), thread < size);
    weights[thread] = weight;
    let total = workgroup_sum(weight, thread);
    workgroupBarrier();
    // Threads share the keys: part p takes keys p, p + parts, ...; parts are added in order.
    let words = HEAD_DIM / PER_WORD;
    let parts = 256u / words;
    let part = thread / words;
    let word = thread % words;
    var sum = vec2<f32>();
    if (part < parts) {
        for (var i = part; i < size; i += parts) {
            let packed = values[((first + i) * KV_HEADS + kv_head) * words + word];
#if F16
            sum = fma(vec2<f32>(weights[i]), unpack2x16float(packed), sum);
#else
            sum.x = fma(weights[i], bitcast<f32>(packed), sum.x);
#endif
        }
    }
    partial[thread] = sum;
    workgroupBarrier();
    let at = ((token * HEADS + head) * work.spans + span) * (HEAD_DIM + 2u);
    if (thread < words) {
        for (var i = 1u; i < parts; i += 1u) {
            sum += partial[i * words + thread];
        }
#if F16
        spans[at + thread * 2u] = sum.x;
        spans[at + thread * 2u + 1u] = sum.y;
#else
        spans[at + thread] = sum.x;
#endif
    }
    if (thread == 0u) {
        spans[at + HEAD_DIM] = largest;
        spans[at + HEAD_DIM + 1u] = total;
    }
}
