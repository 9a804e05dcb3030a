// ${FORMAT} weights against f32 activations. ${LANES} threads share a row.
#include shared/gemv.wgsl
#include shared/row_sum.wgsl
#include shared/float.wgsl
@group(0) @binding(3) var<storage, read> weights: array<vec4<u32>>;

fn add(sum: f32, w: vec4<f32>, x: vec4<f32>) -> f32 {
    return fma(w.w, x.w, fma(w.z, x.z, fma(w.y, x.y, fma(w.x, x.x, sum))));
}

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let lane = thread % ${LANES}u;
    let slot = thread / ${LANES}u;
    let token = extent.first_row + group.y;
#if PROLOGUE
    prepare_x(token, thread);
#endif
    let words = COLS / PER_WORD;
    for (var r = 0u; r < ${EACH}u; r += 1u) {
        let row = min(piece_row(token, group.x * ROWS + r * SLOTS + slot), piece.rows - 1u);
        let first = row * words;
        var sum = 0.0;
        for (var i = lane; i < words; i += ${LANES}u) {
            let word = weights[first + i];
#if HALF
            sum = add(sum, decode_low(word), x_vector(token, 2u * i));
            sum = add(sum, decode_high(word), x_vector(token, 2u * i + 1u));
#else
            sum = add(sum, bitcast<vec4<f32>>(word), x_vector(token, i));
#endif
        }
        let value = row_sum_f32(sum, thread);
        if (lane == 0u) {
            row_values[r * SLOTS + slot] = value;
        }
    }
#include shared/finish_gemv.wgsl
}
