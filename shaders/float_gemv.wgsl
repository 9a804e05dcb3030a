// ${FORMAT} weights against f32 activations. ${LANES} threads share a row.
#include shared/extent.wgsl
#include shared/piece.wgsl
#include shared/exact.wgsl
#include shared/store.wgsl
#include shared/row_sum.wgsl
#include shared/float.wgsl
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> x: array<vec4<f32>>;
override COLS: u32;

const ROWS: u32 = ${THREADS}u / ${LANES}u;
#if GATED
var<workgroup> row_values: array<f32, ROWS>;
#endif

fn add(sum: f32, w: vec4<f32>, x: vec4<f32>) -> f32 {
    return fma(w.w, x.w, fma(w.z, x.z, fma(w.y, x.y, fma(w.x, x.x, sum))));
}

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = thread % ${LANES}u;
    let slot = thread / ${LANES}u;
    let row = group.x * ROWS + slot;
    let token = group.y;
    let words = COLS / PER_WORD;
    let first = min(row, piece.rows - 1u) * words;
    let values = token * COLS / 4u;
    var sum = 0.0;
    for (var i = lane; i < words; i += ${LANES}u) {
        let word = weights[first + i];
#if HALF
        sum = add(sum, decode_low(word), x[values + 2u * i]);
        sum = add(sum, decode_high(word), x[values + 2u * i + 1u]);
#else
        sum = add(sum, bitcast<vec4<f32>>(word), x[values + i]);
#endif
    }
    let value = row_sum_f32(sum, thread);
#include shared/finish_gemv.wgsl
}
