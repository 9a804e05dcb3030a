// Q6_K weights, widened to i8, against i8 activations with a scale per 256. ${LANES} threads share
// a row.
#include shared/gemv.wgsl
#include shared/row_sum.wgsl
#include shared/q6_k.wgsl
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;

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
            let w = weights[first + i];
            let a = x_vector(token, i);
            let block = (first + i) / 16u;
            let integer = sub_scale(block, i % 16u, 0u) * dot4I8Packed(w.x, a.x)
                + sub_scale(block, i % 16u, 1u) * dot4I8Packed(w.y, a.y)
                + sub_scale(block, i % 16u, 2u) * dot4I8Packed(w.z, a.z)
                + sub_scale(block, i % 16u, 3u) * dot4I8Packed(w.w, a.w);
            let scale = bitcast<f32>(scales[block * 5u]) * bitcast<f32>(x_block_scale(token, i / 16u).x);
            sum = fma(scale, f32(integer), sum);
        }
        let value = row_sum_f32(sum, thread);
        if (lane == 0u) {
            row_values[r * SLOTS + slot] = value;
        }
    }
#include shared/finish_gemv.wgsl
}
