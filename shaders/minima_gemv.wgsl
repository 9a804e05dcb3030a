// Weights of 4 or 5 bits with sub-scales and minima, widened to bytes, against i8 activations with
// a
// scale per 256. ${LANES} threads share a row.
#include shared/extent.wgsl
#include shared/piece.wgsl
#include shared/exact.wgsl
#include shared/store.wgsl
#include shared/row_sum.wgsl
#include shared/minima.wgsl
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> x_scales: array<vec2<u32>>;
override COLS: u32;

const ROWS: u32 = ${THREADS}u / ${LANES}u;
#if GATED
var<workgroup> row_values: array<f32, ROWS>;
#endif

// Four dot products of four bytes each.
fn dots(a: vec4<u32>, b: vec4<u32>) -> vec4<i32> {
    return vec4<i32>(dot4I8Packed(a.x, b.x), dot4I8Packed(a.y, b.y), dot4I8Packed(a.z, b.z), dot4I8Packed(a.w, b.w));
}

fn total(a: vec4<i32>) -> i32 {
    return a.x + a.y + a.z + a.w;
}

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
        let a = x[values + i];
        let block = (first + i) / 16u;
        let integer = total(sub_scales(block, i % 16u) * dots(weights[first + i], a));
        let minimum = total(minima(block, i % 16u) * dots(vec4<u32>(0x01010101u), a));
        let d = bitcast<f32>(x_scales[(values + i) / 16u].x);
        sum = fma(bitcast<f32>(scales[block * 6u]) * d, f32(integer), sum);
        sum = fma(-bitcast<f32>(scales[block * 6u + 1u]) * d, f32(minimum), sum);
    }
    let value = row_sum_f32(sum, thread);
#include shared/finish_gemv.wgsl
}
