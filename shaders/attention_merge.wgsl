// Merges the spans of a query head in order. A thread has one element of the head.
#include shared/extent.wgsl
#include shared/exact.wgsl
@group(0) @binding(2) var<storage, read> spans: array<f32>;
@group(0) @binding(3) var<storage, read_write> results: array<f32>;
override HEADS: u32;
override HEAD_DIM: u32;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let head = group.x;
    let token = group.y;
    let element = group.z * 64u + thread;
    if (element >= HEAD_DIM) {
        return;
    }
    let count = (extent.start + token + 256u) / 256u;
    let first = (token * HEADS + head) * extent.spans * (HEAD_DIM + 2u);
    var value = spans[first + element];
#if ROUNDED
    // Weights were final.
    for (var i = 1u; i < count; i += 1u) {
        value += spans[first + i * (HEAD_DIM + 2u) + element];
    }
    let result = value;
#else
    var largest = spans[first + HEAD_DIM];
    var sum = spans[first + HEAD_DIM + 1u];
    for (var i = 1u; i < count; i += 1u) {
        let at = first + i * (HEAD_DIM + 2u);
        let next = max(largest, spans[at + HEAD_DIM]);
        let keep = exp_f32(largest - next);
        let take = exp_f32(spans[at + HEAD_DIM] - next);
        largest = next;
        sum = fma(sum, keep, spans[at + HEAD_DIM + 1u] * take);
        value = fma(value, keep, spans[at + element] * take);
    }
    let result = divide(value, sum);
#endif
    results[((extent.first_row + token) * HEADS + head) * HEAD_DIM + element] = result;
}
