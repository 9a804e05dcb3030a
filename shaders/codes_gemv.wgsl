// Codes of two bits with a scale per ${BLOCK} against i8 activations with a scale per 32. ${LANES}
// threads share a row.
#include shared/extent.wgsl
#include shared/piece.wgsl
#include shared/exact.wgsl
#include shared/dot.wgsl
#include shared/store.wgsl
#include shared/row_sum.wgsl
@group(0) @binding(3) var<storage, read> weights: array<u32>;
@group(0) @binding(4) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(5) var<storage, read> x_scales: array<f32>;
@group(0) @binding(6) var<storage, read> scales: array<f32>;
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
        let a = x[values + i];
        let integer = dot16(unpack_codes(weights[first + i]), a) - dot16(vec4<u32>(0x01010101u), a);
        let scale = scales[(first + i) / ${BLOCK_WORDS}u] * x_scales[(values + i) / 2u];
        sum = fma(scale, f32(integer), sum);
    }
    let value = row_sum_f32(sum, thread);
#include shared/finish_gemv.wgsl
}
