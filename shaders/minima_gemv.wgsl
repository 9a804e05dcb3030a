// Weights of 4 or 5 bits with sub-scales and minima, widened to bytes, against i8 activations with
// a scale per 256. ${LANES} threads share a row.
#include shared/gemv.wgsl
#include shared/row_sum.wgsl
#include shared/minima.wgsl
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;

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
    let token = extent.first_row + group.y;
#if PROLOGUE
    prepare_x(token, thread);
#endif
    let words = COLS / 16u;
    for (var r = 0u; r < ${EACH}u; r += 1u) {
        let row = min(piece_row(token, group.x * ROWS + r * SLOTS + slot), piece.rows - 1u);
        let first = row * words;
        var sum = 0.0;
        for (var i = lane; i < words; i += ${LANES}u) {
            let a = x_vector(token, i);
            let block = (first + i) / 16u;
            let integer = total(sub_scales(block, i % 16u) * dots(weights[first + i], a));
            let minimum = total(minima(block, i % 16u) * dots(vec4<u32>(0x01010101u), a));
            let d = bitcast<f32>(x_block_scale(token, i / 16u).x);
            sum = fma(bitcast<f32>(scales[block * 6u]) * d, f32(integer), sum);
            sum = fma(-bitcast<f32>(scales[block * 6u + 1u]) * d, f32(minimum), sum);
        }
        let value = row_sum_f32(sum, thread);
        if (lane == 0u) {
            row_values[r * SLOTS + slot] = value;
        }
    }
#include shared/finish_gemv.wgsl
}
