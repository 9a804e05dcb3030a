// Q6_K weights, widened to i8, against i8 activations with a scale per 256. ${LANES} threads share
// a row.
#include shared/extent.wgsl
#include shared/piece.wgsl
#include shared/exact.wgsl
#include shared/store.wgsl
#include shared/row_sum.wgsl
#include shared/q6_k.wgsl
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> x_scales: array<vec2<u32>>;
override COLS: u32;

const ROWS: u32 = ${THREADS}u / ${LANES}u;
#if GATED
var<workgroup> row_values: array<f32, ROWS>;
#endif

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = thread % ${LANES}u;
    let slot = thread / ${LANES}u;
    let row = group.x * ROWS + slot;
    let token = group.y;
    let words = COLS / 16u;
    let first = min(row, piece.rows - 1u) * words;
    let values = token * words;
    var sum = 0.0;
    for (var i = lane; i < words; i += ${LANES}u) {
        let w = weights[first + i];
        let a = x[values + i];
        let block = (first + i) / 16u;
        let integer = sub_scale(block, i % 16u, 0u) * dot4I8Packed(w.x, a.x)
            + sub_scale(block, i % 16u, 1u) * dot4I8Packed(w.y, a.y)
            + sub_scale(block, i % 16u, 2u) * dot4I8Packed(w.z, a.z)
            + sub_scale(block, i % 16u, 3u) * dot4I8Packed(w.w, a.w);
        let scale = bitcast<f32>(scales[block * 5u]) * bitcast<f32>(x_scales[(values + i) / 16u].x);
        sum = fma(scale, f32(integer), sum);
    }
    let value = row_sum_f32(sum, thread);
#include shared/finish_gemv.wgsl
}
