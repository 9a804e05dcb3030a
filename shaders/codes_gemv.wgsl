// Codes of two bits with a scale per ${BLOCK} against i8 activations with a scale per 32. ${LANES}
// threads share a row.
#include shared/gemv.wgsl
#include shared/dot.wgsl
#include shared/row_sum.wgsl
@group(0) @binding(3) var<storage, read> weights: array<u32>;
@group(0) @binding(6) var<storage, read> scales: array<f32>;

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
            let integer = dot16(unpack_codes(weights[first + i]), a) - dot16(vec4<u32>(0x01010101u), a);
            let scale = scales[(first + i) / ${BLOCK_WORDS}u] * x_block_scale(token, i / 2u);
            sum = fma(scale, f32(integer), sum);
        }
        let value = row_sum_f32(sum, thread);
        if (lane == 0u) {
            row_values[r * SLOTS + slot] = value;
        }
    }
#include shared/finish_gemv.wgsl
}
